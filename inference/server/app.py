"""The application: which request gets which answer of the service."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from inference.server.fields import Fields
from inference.server.guard import Guard
from inference.server.limits import Limits, RefusedError
from inference.server.openapi import description
from inference.server.service import Service, peaks
from inference.server.wav import read_wav
from inference.server.worker import Worker
from metrics.fields import shown

PAGE = Path(__file__).parent / "page"
FILES = {
    "/": "index.html",
    "/page.css": "page.css",
    "/page.js": "page.js",
    "/audio.js": "audio.js",
    "/drawings.js": "drawings.js",
}
WAV_TYPES = ("audio/wav", "audio/x-wav", "audio/wave")
MOST_ENROLLED_AT_ONCE = 50  # recordings


class Handlers:
    """Requests -> answers. Those with a body take a place in the queue before it is read."""

    def __init__(self, service: Service, worker: Worker, limits: Limits) -> None:
        """The service, which only the worker's thread calls."""
        self.service = service
        self.worker = worker
        self.limits = limits

    async def model(self, request: Request) -> Any:
        """GET /api/model."""
        return await self.worker.run(self.service.model)

    async def listen(self, request: Request) -> Any:
        """POST /api/recordings, a WAV file."""
        return await self._heard(request, self.service.listen)

    async def turns(self, request: Request) -> Any:
        """POST /api/turns, a WAV file."""
        return await self._heard(request, self.service.turns)

    async def compare(self, request: Request) -> Any:
        """POST /api/compare."""
        fields = await self._fields(request, "first", "second", "prior")
        prior = fields.number("prior", 0.0, 1.0, default=0.5)
        return await self.worker.run(self.service.compare, fields.text("first"), fields.text("second"), prior)

    async def identify(self, request: Request) -> Any:
        """POST /api/identify."""
        fields = await self._fields(request, "recording", "top")
        return await self.worker.run(
            self.service.identify, fields.text("recording"), fields.count("top", 100, 5)
        )

    async def enrol(self, request: Request) -> Any:
        """POST /api/speakers."""
        fields = await self._fields(request, "name", "recordings")
        recordings = fields.texts("recordings", MOST_ENROLLED_AT_ONCE)
        return await self.worker.run(self.service.enrol, fields.text("name"), recordings)

    async def remove(self, request: Request) -> Any:
        """DELETE /api/speakers."""
        fields = await self._fields(request, "name")
        await self.worker.run(self.service.remove, fields.text("name"))
        return {}

    async def speakers(self, request: Request) -> Any:
        """GET /api/speakers."""
        return {"speakers": await self.worker.run(self.service.speakers)}

    async def openapi(self, request: Request) -> Any:
        """GET /openapi.json."""
        return description(self.limits)

    async def _heard(self, request: Request, call: Callable[[NDArray[np.int16], int], Any]) -> Any:
        """Request with a WAV file, what to answer about samples (T, C) and rate -> that, and a picture."""
        _require_type(request, WAV_TYPES)
        content = await _body(request, self.limits.most_bytes, self.limits.upload_s)

        def answer() -> Any:
            samples, rate = read_wav(content, self.limits)
            return {**call(samples, rate), "peaks": peaks(samples)}

        return await self.worker.run(answer)

    async def _fields(self, request: Request, *names: str) -> Fields:
        _require_type(request, ("application/json",))
        content = await _body(request, self.limits.most_json, self.limits.upload_s)
        try:
            return Fields(json.loads(content), names)
        except (ValueError, RecursionError):
            raise RefusedError(400, "expected a JSON object in UTF-8") from None


def make_app(service: Service, limits: Limits, hosts: frozenset[str], token: str) -> Starlette:
    """Service, limits, values of the Host header that are answered, the token or "" -> ASGI application."""
    worker = Worker(limits.most_waiting)
    handlers = Handlers(service, worker, limits)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await worker.run(service.close)
        worker.close()

    def route(path: str, handler: Callable[[Request], Awaitable[Any]], *methods: str) -> Route:
        async def endpoint(request: Request) -> Response:
            async with worker.place():
                return JSONResponse(await handler(request))

        return Route(path, endpoint, methods=list(methods))

    pages = [Route(path, partial(_page, PAGE / name)) for path, name in FILES.items()]
    routes = [
        route("/api/model", handlers.model, "GET"),
        route("/api/recordings", handlers.listen, "POST"),
        route("/api/turns", handlers.turns, "POST"),
        route("/api/compare", handlers.compare, "POST"),
        route("/api/identify", handlers.identify, "POST"),
        route("/api/speakers", handlers.speakers, "GET"),
        route("/api/speakers", handlers.enrol, "POST"),
        route("/api/speakers", handlers.remove, "DELETE"),
        route("/openapi.json", handlers.openapi, "GET"),
    ]
    errors: dict[Any, Callable[[Request, Any], Awaitable[Response]]] = {
        RefusedError: _refused,
        ValueError: _unusable,  # AudioError is one
        OSError: _failed,
        TimeoutError: _late,
        ClientDisconnect: _late,
        HTTPException: _unknown,
    }
    guard = Middleware(Guard, hosts=hosts, token=token, limits=limits)
    return Starlette(
        routes=[*pages, *routes], middleware=[guard], exception_handlers=errors, lifespan=lifespan
    )


async def _page(path: Path, request: Request) -> Response:
    return FileResponse(path)


async def _body(request: Request, most: int, seconds: float) -> bytes:
    """Request -> its body; raises RefusedError for one over so many bytes, TimeoutError for a slow one."""
    parts, size = list[bytes](), 0
    async with asyncio.timeout(seconds):
        async for part in request.stream():
            size += len(part)
            if size > most:
                raise RefusedError(413, f"expected at most {most} bytes")
            parts.append(part)
    return b"".join(parts)


def _require_type(request: Request, types: tuple[str, ...]) -> None:
    """Raises RefusedError for a body of another type, also those that a form of another page could send."""
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given not in types:
        raise RefusedError(415, f"expected the content type {types[0]}")
    if request.headers.get("content-encoding", "identity") != "identity":
        raise RefusedError(415, "compressed bodies aren't read")


async def _refused(request: Request, error: RefusedError) -> Response:
    return JSONResponse({"error": error.reason}, error.status, error.headers)


async def _unusable(request: Request, error: ValueError) -> Response:
    return JSONResponse({"error": str(error)}, 422)


async def _failed(request: Request, error: OSError) -> Response:
    print(f"inferSpeakerNet.py: error: {shown(str(error))}", file=sys.stderr, flush=True)
    return JSONResponse({"error": "the database can't be used; the server's terminal says why"}, 500)


async def _late(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "the request came too slowly"}, 408)


async def _unknown(request: Request, error: HTTPException) -> Response:
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)
