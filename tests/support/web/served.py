"""A page that is served in a thread, and requests to it by hand."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import Any

from starlette.routing import BaseRoute

from medlsam.viewer.serve import PageServer


@dataclass(frozen=True)
class Answer:
    """What came back: status, headers with small names, body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Asks a server as its own page does; every header can be replaced, or left out with None."""

    def __init__(self, server: PageServer) -> None:
        self.server = server
        self.origin = f"http://127.0.0.1:{server.port}"

    def ask(
        self,
        path: str,
        method: str = "GET",
        body: bytes | dict[str, Any] | None = None,
        headers: Mapping[str, str | None] | None = None,
    ) -> Answer:
        own: dict[str, str | None] = {
            "Host": self.origin.removeprefix("http://"),
            "Cookie": f"medlsam-{self.server.port}={self.server.token}",
        }
        if method == "POST":
            own |= {"Origin": self.origin, "Content-Type": "application/json"}
        own |= headers or {}
        raw = json.dumps(body).encode() if isinstance(body, dict) else body
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in own.items():
                if value is not None:
                    connection.putheader(name, value)
            if raw is not None and "Content-Length" not in own and "Transfer-Encoding" not in own:
                connection.putheader("Content-Length", str(len(raw)))
            connection.endheaders(raw)
            answer = connection.getresponse()
            headers_ = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, headers_, answer.read())
        finally:
            connection.close()


@contextmanager
def served(routes: list[BaseRoute]) -> Iterator[Client]:
    """Serve routes in a thread until the block ends."""
    server = PageServer(routes)
    thread = Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield Client(server)
    finally:
        server.stop()
        thread.join(10)
    assert not thread.is_alive(), "the server ends when it is asked to"
