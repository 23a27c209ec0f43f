"""What the server refuses, and what it says with every answer."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from medlsam.errors import UsageError
from medlsam.viewer.guard import HEADERS
from medlsam.viewer.serve import PageServer, listen
from tests.support.web.served import Client
from tests.viewer.bad_requests import BAD, Bad


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_bad_requests_are_refused_and_the_server_goes_on(bad: Bad, page: Client) -> None:
    own = {"port": page.server.port, "token": page.server.token}
    headers = {name: value if value is None else value.format(**own) for name, value in bad.headers.items()}
    answer = page.ask(bad.path.format(**own), bad.method, bad.body, headers)
    assert answer.status == bad.status, answer.body
    assert bad.text in answer.body.decode()
    assert page.server.token not in answer.body.decode()
    assert page.ask("/api/run").status == 200


def test_there_are_as_many_as_promised() -> None:
    assert len({bad.name for bad in BAD}) == len(BAD) >= 25


def test_the_printed_address_opens_the_page_and_hides_the_token(page: Client) -> None:
    answer = page.ask(page.server.url.removeprefix(page.origin), headers={"Cookie": None})
    assert (answer.status, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert f"medlsam-{page.server.port}={page.server.token}" in cookie
    assert "httponly" in cookie.lower()
    assert "samesite=strict" in cookie.lower()
    assert page.ask("/").status == 200


def test_every_answer_keeps_the_page_to_itself(page: Client) -> None:
    for path in ("/", "/pages/view.js", "/api/run", "/nowhere"):
        answer = page.ask(path)
        for name, value in HEADERS.items():
            assert answer.headers[name.lower()] == value
    assert page.ask("/api/run").headers["cache-control"] == "no-store"
    policy = HEADERS["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "http" not in policy


def test_the_pages_load_nothing_from_elsewhere() -> None:
    pages = Path(__file__).parents[2] / "medlsam" / "viewer" / "pages"
    for file in pages.iterdir():
        text = file.read_text(encoding="utf-8")
        forbidden = [word for word in ("http://", "https://", "style=", 'onclick="', "eval(") if word in text]
        assert not forbidden, f"{file.name}: the policy forbids it"


def test_it_listens_to_this_machine_only() -> None:
    bound = listen()
    try:
        assert bound.getsockname()[0] == "127.0.0.1"
        assert bound.proto == socket.IPPROTO_TCP, "else every answer waits 40 ms"
        with pytest.raises(UsageError, match="give another --port"):
            PageServer([], bound.getsockname()[1])
    finally:
        bound.close()
    with pytest.raises(UsageError, match="port must be 0 to 65535"):
        listen(70_000)
