"""The server of a page: on the loopback address, with a token of its own, until Ctrl-C.

Starlette and uvicorn: both small, well kept and without compiled parts; HTTP parsing, streaming and shutting down in
order are no place for code of our own.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles

from medlsam.errors import MedlsamError, UsageError
from medlsam.viewer.guard import Guard, refusal

HOST = "127.0.0.1"
PAGES = Path(__file__).parent / "pages"


def listen(port: int = 0) -> socket.socket:
    """Bind to the loopback address; port 0 takes a free one.

    Raises:
        UsageError: the port is taken, or no port.
    """
    if not 0 <= port <= 65535:
        raise UsageError(f"port must be 0 to 65535, got {port}")
    # Named as TCP: asyncio turns Nagle's delay off for such sockets only, and it costs 40 ms an answer.
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((HOST, port))
        # From now on: whoever opens the address before the server runs has to wait, and is not refused.
        bound.listen(128)
    except OSError as error:
        bound.close()
        raise UsageError(f"port {port} on {HOST} cannot be used ({error}); give another --port") from error
    return bound


def make_app(routes: Sequence[BaseRoute], token: str, port: int) -> Starlette:
    """Put the routes of a page behind the guard; its files are those of ``pages`` and no others.

    Args:
        routes: of the page.
        token: of this run.
        port: that the server listens at.
    """
    return Starlette(
        routes=[*routes, Mount("/pages", StaticFiles(directory=PAGES))],
        middleware=[Middleware(Guard, token=token, port=port)],
        exception_handlers={MedlsamError: _in_words, HTTPException: _not_there},
    )


async def _in_words(request: Request, error: Exception) -> Response:
    return refusal(400, str(error))


async def _not_there(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return refusal(status, f"{request.url.path[:80]}: there is no such page")


class PageServer:
    """A page that is served from when it is made until ``stop``.

    Attributes:
        url: the address to open; it holds the token.
        port: that it listens at.
        token: of this run.
    """

    def __init__(self, routes: Sequence[BaseRoute], port: int = 0) -> None:
        self._socket = listen(port)
        self.port = int(self._socket.getsockname()[1])
        self.token = secrets.token_urlsafe(24)
        self.url = f"http://{HOST}:{self.port}/?token={self.token}"
        config = uvicorn.Config(
            make_app(routes, self.token, self.port),
            log_level="error",
            access_log=False,
            server_header=False,
            # A tab that stays open must not keep the program from ending.
            timeout_graceful_shutdown=2,
        )
        self._server = uvicorn.Server(config)

    def run(self, ready: Callable[[str], object] | None = None, browser: bool = False) -> None:
        """Serve until ``stop`` or Ctrl-C.

        Args:
            ready: is told the address before the first request.
            browser: open the address in the browser of this machine.
        """
        if ready is not None:
            ready(self.url)
        if browser:
            webbrowser.open(self.url)
        try:
            with contextlib.suppress(KeyboardInterrupt):
                self._server.run(sockets=[self._socket])
        finally:
            self._socket.close()

    def stop(self) -> None:
        """Let ``run`` end; from any thread."""
        self._server.should_exit = True
