"""What stands before the application: who may ask, from which page, and what browsers may do with answers."""

import hmac
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inference.server.limits import Limits, RefusedError

API = "/api/"
# scripts, styles and requests of this server only; recordings are played from the page's own memory
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cache-Control": "no-store",
    "Connection": "close",  # a connection has one request: what comes slowly is ended by one deadline
}


class Guard:
    """ASGI middleware that refuses what the application should not see.

    These are requests for other hosts (DNS rebinding), from other pages (CSRF), without the token, and with a
    body that is announced as too large.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str], token: str, limits: Limits) -> None:
        """The values of the Host header that are answered, none for all; the token, "" for none."""
        self.app = app
        self.hosts = hosts
        self.token = token
        self.limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or refuse a request."""
        if scope["type"] != "http":  # there is no other kind but the server's start and end
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        try:
            self.check(scope["path"], Headers(scope=scope))
        except RefusedError as error:
            refusal = JSONResponse({"error": error.reason}, error.status, error.headers)
            await refusal(scope, receive, send_guarded)
            return
        await self.app(scope, receive, send_guarded)

    def check(self, path: str, headers: Headers) -> None:
        """Path and headers of a request; raises RefusedError unless it may be answered."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or (self.hosts and hosts[0].lower() not in self.hosts):
            raise RefusedError(421, "this server has another name; open the address that it printed")
        if not path.startswith(API):
            return
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != hosts[0].lower():
            raise RefusedError(403, "requests of other pages are refused")
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            raise RefusedError(403, "requests of other pages are refused")
        given = headers.get("authorization", "")
        if self.token and not hmac.compare_digest(given.encode(), f"Bearer {self.token}".encode()):
            raise RefusedError(401, "the token is missing or wrong", {"WWW-Authenticate": "Bearer"})
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self.limits.most_bytes:
            raise RefusedError(413, f"expected at most {self.limits.most_bytes} bytes")
