"""Runs the application with uvicorn."""

import logging
import socket
import sys
from collections.abc import Callable

import h11
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from inference.server.limits import Limits

LOOPBACK = ("127.0.0.1", "::1", "localhost")
EVERYWHERE = ("0.0.0.0", "::")


def hosts_of(host: str, port: int) -> frozenset[str]:
    """The address that is listened on -> values of the Host header that are answered; none: all.

    Who listens on all addresses of a machine is asked by any of its names; then only the token protects.
    """
    if host in EVERYWHERE:
        return frozenset()
    names = LOOPBACK if host in LOOPBACK else (*LOOPBACK, host)
    shown = [f"[{name}]" if ":" in name else name for name in names]
    return frozenset(text for name in shown for text in (f"{name}:{port}", *([name] if port == 80 else [])))


def listen_on(host: str, port: int) -> socket.socket:
    """Address, port or 0 for any free one -> listening socket.

    Raises:
        ValueError: the port is used, or the address isn't of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except (OSError, OverflowError) as error:  # a port over 65535 overflows
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"--host {host} --port {port}: {reason}; choose another") from None


def serve(app: Starlette, listening: socket.socket, limits: Limits, on_start: Callable[[], None]) -> None:
    """Answer requests until Ctrl-C or SIGTERM; nothing that a client sends is logged."""

    class Connection(H11Protocol):
        """A connection that ends unless the head of its request is there in time."""

        def connection_made(self, transport: object) -> None:
            super().connection_made(transport)  # type: ignore[arg-type]
            self.deadline = self.loop.call_later(limits.headers_s, self.end_if_waiting)

        def connection_lost(self, exc: Exception | None) -> None:
            self.deadline.cancel()
            super().connection_lost(exc)

        def end_if_waiting(self) -> None:
            if self.conn.our_state is h11.IDLE:
                self.transport.close()

    logging.getLogger("uvicorn.error").addHandler(logging.StreamHandler(sys.stderr))
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        log_config=None,
        log_level="error",  # a fault of this program, with its traceback
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=limits.most_connections,
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(config)
    on_start()
    server.run(sockets=[listening])
