"""A web server on the loopback address that behaves well or badly, and a proxy in front of it. No network."""

from __future__ import annotations

import http.server
import re
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Site:
    """What a server offers and how it behaves.

    Attributes:
        files: path to content.
        break_after: the first ``breaks`` answers end after so many bytes, though they promise all.
        breaks: answers that are still to break.
        ranges: whether ``Range`` is understood.
        statuses: codes that the next answers have instead of a file.
        moved: path to the address that it redirects to.
        tag: ``ETag`` of all files.
        address: of the running server.
        asked: (path, ``Range`` header) of every request.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    break_after: int = 0
    breaks: int = 0
    ranges: bool = True
    statuses: list[int] = field(default_factory=list)
    moved: dict[str, str] = field(default_factory=dict)
    tag: str = ""
    address: str = ""
    asked: list[tuple[str, str | None]] = field(default_factory=list)


@contextmanager
def serve(site: Site) -> Iterator[Site]:
    """Run a server as long as the block runs; its address is ``site.address``."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _answer(self, site)

        def log_message(self, *args: object) -> None:
            pass

    with _running(Handler) as address:
        site.address = address
        yield site


@contextmanager
def proxy() -> Iterator[tuple[str, list[str]]]:
    """Run a proxy; yields its address and the list of what was asked through it."""
    seen: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            request = urllib.request.Request(self.path)
            for name in ("Range", "If-Range"):
                if self.headers.get(name):
                    request.add_header(name, self.headers[name])
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
                content = answer.read()
                self.send_response(answer.status)
                for name in ("Content-Range", "ETag"):
                    if answer.headers.get(name):
                        self.send_header(name, answer.headers[name])
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            pass

    with _running(Handler) as address:
        yield address, seen


@contextmanager
def _running(handler: Any) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def _answer(request: Any, site: Site) -> None:
    wanted = request.headers.get("Range")
    site.asked.append((request.path, wanted))
    path = request.path.split("?")[0]
    if path in site.moved:
        request.send_response(302)
        request.send_header("Location", site.moved[path])
        request.end_headers()
        return
    if site.statuses or path not in site.files:
        request.send_response(site.statuses.pop(0) if site.statuses else 404)
        request.send_header("Content-Length", "0")
        request.end_headers()
        return
    content = site.files[path]
    start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and site.ranges else 0  # type: ignore[index]
    same = request.headers.get("If-Range") in (None, site.tag)
    start = start if same else 0
    if start and start >= len(content):
        request.send_response(416)
        request.send_header("Content-Range", f"bytes */{len(content)}")
        request.end_headers()
        return
    request.send_response(206 if start else 200)
    if start:
        request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
    if site.tag:
        request.send_header("ETag", site.tag)
    part = content[start:]
    request.send_header("Content-Length", str(len(part)))
    request.end_headers()
    if site.breaks:
        site.breaks -= 1
        part = part[: site.break_after]
    request.wfile.write(part)
