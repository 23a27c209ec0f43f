"""What the page of ``medlsam view`` is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medlsam.errors import UsageError
from medlsam.viewer.view_routes import view_page
from tests.support.web.served import Client


def test_the_page_gets_geometry_pictures_and_outlines(page: Client) -> None:
    run = page.ask("/api/run").json()
    index = next(k for k, case in enumerate(run["cases"]) if case["name"] == "a")
    opened = page.ask(f"/api/case/{index}").json()
    assert opened["geometry"]["shape"] == [28, 24, 16]
    center = opened["centers"]["plate"]
    z = round((center[2] - opened["geometry"]["origin"][2]) / opened["geometry"]["spacing"][2])
    picture = page.ask(f"/api/case/{index}/slice/axial/{z}?low=-160&high=240")
    assert picture.headers["content-type"] == "image/png"
    assert "max-age" in picture.headers["cache-control"]
    lines = page.ask(f"/api/case/{index}/outlines/axial/{z}").json()["lines"]
    assert lines["plate"]
    failed = page.ask("/api/case/0")
    assert failed.status == 400
    assert "no voxel spacing" in json.loads(failed.body)["error"]


def test_a_scan_is_named_in_the_address(results: Path, page: Client) -> None:
    assert view_page(results).address_of("b & <b>") == "&case=b+%26+%3Cb%3E"
    with pytest.raises(UsageError, match=r"no scan 'c'; it has 3"):
        view_page(results).address_of("c")
    answer = page.ask(f"/?token={page.server.token}&case=b+%26+%3Cb%3E", headers={"Cookie": None})
    assert answer.status == 303
    assert answer.headers["location"] == "/?case=b+%26+%3Cb%3E", "the token goes, the scan stays"
    plain = page.ask(f"/?token={page.server.token}&case=", headers={"Cookie": None})
    assert plain.headers["location"] == "/"
