"""Which requests are answered: those of the page that was opened with the printed address, and no others.

A server on the loopback address is reached by every program of this machine, by every page that the browser has open
(cross-site requests), and by names that somebody lets point to 127.0.0.1 (DNS rebinding). So a request needs

- a ``Host`` that is the loopback address and our port,
- the token of this run: once in the address, from then on in a cookie that scripts cannot read,
- for anything that changes something, our own ``Origin`` and a body of JSON that is not huge.

Answers forbid the browser to load anything from elsewhere or to be shown inside another page.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: The largest body that is read: six points or a box are a few hundred bytes.
MOST_BYTES = 64 * 1024
#: Nothing from elsewhere, no script or style in the page itself, no frames around it.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_READS = ("GET", "HEAD")


class Guard:
    """ASGI middleware that refuses what the page itself did not ask for.

    Attributes:
        token: of this run.
        port: that the server listens at.
    """

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self.app, self.token, self.port = app, token, port
        self.hosts = {f"{host}:{port}" for host in ("127.0.0.1", "localhost", "[::1]")}

    @property
    def cookie(self) -> str:
        """Name of the cookie: cookies are shared between the ports of a host, so it has the port."""
        return f"medlsam-{self.port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, refuse, or hand on a request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        refused = self._refused(request)
        if refused is None and request.method not in _READS:
            body, refused = await _body(request)
            receive = _again(body)
        if refused is not None:
            await refused(scope, receive, _with_headers(send))
            return
        await self.app(scope, receive, _with_headers(send))

    def _refused(self, request: Request) -> Response | None:
        """Answer that refuses a request, or takes the token out of the address; None where it may pass."""
        host = request.headers.get("host", "")
        if host not in self.hosts:
            return refusal(
                421,
                f"this server answers to 127.0.0.1:{self.port}, not to {host[:80]!r}; through an SSH tunnel use the "
                f"same port on both sides: ssh -L {self.port}:127.0.0.1:{self.port} ...",
            )
        if request.method not in (*_READS, "POST"):
            return refusal(405, f"{request.method[:20]} is not answered here")
        given = parse_qs(request.url.query).get("token", [""])[0]
        if given and request.method == "GET" and request.url.path == "/":
            if not self._right(given):
                return refusal(
                    403, "the token in the address is not that of this run; copy the printed address again"
                )
            # Without the token, which must not stay in the address; the scan that was asked for does.
            case = parse_qs(request.url.query).get("case", [""])[0]
            answer = RedirectResponse(
                "/" + (f"?{urlencode({'case': case})}" if case else ""), status_code=303
            )
            answer.set_cookie(self.cookie, self.token, httponly=True, samesite="strict", path="/")
            return answer
        if not self._right(self._cookie(request)):
            return refusal(
                403, "open the address that was printed when the server started; it holds the token"
            )
        if request.method in _READS:
            return None
        origin = request.headers.get("origin")
        if (
            origin is None
            or origin.removeprefix("http://") not in self.hosts
            or not origin.startswith("http://")
        ):
            return refusal(403, f"a change must come from our own page, not from {str(origin)[:80]!r}")
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return refusal(415, "a change is a document of JSON (Content-Type: application/json)")
        return None

    def _right(self, token: str) -> bool:
        # Compared as bytes, since the comparison refuses text beyond ASCII.
        return secrets.compare_digest(token.encode(), self.token.encode())

    def _cookie(self, request: Request) -> str:
        try:
            morsel = SimpleCookie(request.headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            return ""
        return "" if morsel is None else morsel.value


def refusal(status: int, text: str) -> Response:
    """Say in words why a request is refused."""
    return JSONResponse({"error": text}, status)


async def _body(request: Request) -> tuple[bytes, Response | None]:
    """Read a body up to the limit, and see that it is a JSON object."""
    length = request.headers.get("content-length", "")
    parts, size = [], int(length) if length.isdecimal() else 0
    if size <= MOST_BYTES:
        size = 0
        async for part in request.stream():
            parts.append(part)
            size += len(part)
            if size > MOST_BYTES:
                break
    if size > MOST_BYTES:
        return b"", refusal(413, f"the body has more than {MOST_BYTES} bytes")
    body = b"".join(parts)
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return b"", refusal(400, "the body is not JSON")
    if not isinstance(document, dict):
        return b"", refusal(400, "the body is not a JSON object")
    return body, None


def _again(body: bytes) -> Receive:
    """Give a body that was read to whoever reads it next."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def _with_headers(send: Send) -> Send:
    """Add the headers that keep the page to itself."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
            headers = list(message.get("headers", []))
            if not any(name.lower() == b"cache-control" for name, _ in headers):
                own.append((b"cache-control", b"no-store"))
            message = {**message, "headers": [*headers, *own]}
        await send(message)

    return sending
