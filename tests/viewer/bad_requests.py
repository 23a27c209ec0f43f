"""Requests that a page must refuse, with what the answer has to say. The server goes on after each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Bad:
    """A request that is refused.

    Attributes:
        name: what is wrong with it.
        status: of the answer.
        text: the answer has it; empty for none.
        path: that is asked for.
        method: of HTTP.
        body: of a POST.
        headers: beside the right ones; None leaves one out, ``{port}`` is the server's.
    """

    name: str
    status: int
    text: str
    path: str = "/api/run"
    method: str = "GET"
    body: bytes | dict[str, Any] | None = None
    headers: Mapping[str, str | None] = field(default_factory=dict)


BAD = (
    # whose request is it
    Bad("no token", 403, "holds the token", headers={"Cookie": None}),
    Bad("wrong token", 403, "holds the token", headers={"Cookie": "medlsam-{port}=guessed"}),
    Bad("token beyond ASCII", 403, "holds the token", headers={"Cookie": "medlsam-{port}=\u00e9\u00e9"}),
    Bad("token of another port", 403, "holds the token", headers={"Cookie": "medlsam-1={token}"}),
    Bad("wrong token in the address", 403, "not that of this run", path="/?token=guessed"),
    Bad(
        "token in the address of data",
        403,
        "holds the token",
        "/api/run?token={token}",
        headers={"Cookie": None},
    ),
    Bad(
        "picture without a token",
        403,
        "holds the token",
        "/api/case/1/slice/axial/3",
        headers={"Cookie": None},
    ),
    Bad("script without a token", 403, "holds the token", "/pages/view.js", headers={"Cookie": None}),
    Bad("foreign host", 421, "answers to 127.0.0.1", headers={"Host": "evil.example:{port}"}),
    Bad("our address at another port", 421, "same port on both sides", headers={"Host": "127.0.0.1:1"}),
    Bad("no host", 400, "", headers={"Host": None}),
    Bad(
        "foreign origin", 403, "from our own page", "/api/run", "POST", {}, {"Origin": "http://evil.example"}
    ),
    Bad("no origin", 403, "from our own page", "/api/run", "POST", {}, {"Origin": None}),
    Bad("origin of a file", 403, "from our own page", "/api/run", "POST", {}, {"Origin": "null"}),
    Bad("a form of another page", 415, "JSON", "/api/run", "POST", b"a=1", {"Content-Type": "text/plain"}),
    # what is in it
    Bad("huge body", 413, "more than 65536 bytes", "/api/run", "POST", b"{" + b" " * 70_000 + b"}"),
    Bad("a length that lies", 413, "more than", "/api/run", "POST", b"{}", {"Content-Length": "99999999"}),
    Bad("broken JSON", 400, "not JSON", "/api/run", "POST", b'{"a": '),
    Bad("nested beyond reason", 400, "not", "/api/run", "POST", b"[" * 60_000),
    Bad("a list for an object", 400, "not a JSON object", "/api/run", "POST", b"[1]"),
    Bad("another method", 405, "not answered", "/api/run", "DELETE"),
    # what it asks for
    Bad("path traversal", 404, "", "/pages/../serve.py"),
    Bad("path traversal, encoded", 404, "", "/pages/%2e%2e/serve.py"),
    Bad("path traversal, encoded twice", 404, "", "/pages/..%252f..%252fserve.py"),
    Bad("an absolute path", 404, "", "/pages//etc/passwd"),
    Bad("a null byte", 404, "", "/pages/view.js%00.png"),
    Bad("a scan that is not there", 400, "the list has 3", "/api/case/99"),
    Bad("a scan by its name", 404, "", "/api/case/..%2f..%2fetc"),
    Bad("a plane that is not there", 400, "no plane is called", "/api/case/1/slice/oblique/0?low=0&high=1"),
    Bad("a slice that is not there", 400, "slices go from 0 to", "/api/case/1/slice/axial/999?low=0&high=1"),
    Bad("a window that is none", 400, "lowest HU below", "/api/case/1/slice/axial/0?low=5&high=5"),
    Bad("a window of words", 400, "low: a number is needed", "/api/case/1/slice/axial/0?low=dark&high=5"),
    Bad("a window without end", 400, "low: a number is needed", "/api/case/1/slice/axial/0?low=nan&high=inf"),
)
