"""Embeddings of the recordings that were sent lately, under names that can't be guessed."""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable

from inference.server.limits import Limits, RefusedError
from inference.voices import Embedding

UNKNOWN = 404


class RecentEmbeddings:
    """Remembers a bounded number of embeddings for a bounded time; the recordings themselves are gone."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        """Limits, the clock in seconds."""
        self.limits = limits
        self.clock = clock
        self._kept = OrderedDict[str, tuple[float, Embedding]]()

    def add(self, embedding: Embedding) -> str:
        """Embedding -> its name."""
        self._forget_old()
        while len(self._kept) >= self.limits.most_recordings:
            self._kept.popitem(last=False)
        name = secrets.token_urlsafe(16)
        self._kept[name] = self.clock(), embedding
        return name

    def get(self, name: str) -> Embedding:
        """Name -> embedding; raises RefusedError if it is unknown, or forgotten."""
        self._forget_old()
        try:
            return self._kept[name][1]
        except KeyError:
            raise RefusedError(UNKNOWN, "this recording isn't remembered any more; send it again") from None

    def _forget_old(self) -> None:
        since = self.clock() - self.limits.remembered_s
        while self._kept:
            name, (added, _) = next(iter(self._kept.items()))
            if added >= since:
                return
            del self._kept[name]
