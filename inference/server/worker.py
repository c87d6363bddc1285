"""The one thread that uses the model and the database, and the bounded queue before it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from inference.server.limits import RefusedError

T = TypeVar("T")
TOO_MANY = 429


class Worker:
    """Runs calls one after the other.

    A request takes a place before its body is read, so that memory is bounded; without a free place it is
    refused at once and may be sent again.
    """

    def __init__(self, most_waiting: int) -> None:
        """How many requests may have a place."""
        self.most_waiting = most_waiting
        self.taken = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place in the queue; raises RefusedError if all are taken."""
        if self.taken >= self.most_waiting:
            raise RefusedError(
                TOO_MANY, f"{self.taken} requests are waiting; try again in a second", {"Retry-After": "1"}
            )
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1

    async def run(self, call: Callable[..., T], *arguments: Any) -> T:
        """Call, its arguments -> its result; it isn't stopped if the client has gone."""
        return await asyncio.wrap_future(self._thread.submit(call, *arguments))

    def close(self) -> None:
        """Wait for the call that runs, drop those that wait."""
        self._thread.shutdown(cancel_futures=True)
