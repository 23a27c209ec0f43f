"""``medlsam view`` and ``annotate`` end on Ctrl-C, with nothing lost and nothing held."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from medlsam.geometry import Grid
from medlsam.io.write import write_volume
from medlsam.runtime.run_lock import run_lock
from medlsam.viewer.annotate.scan_file import read_answers

pytestmark = pytest.mark.slow


def started(*words: object) -> tuple[subprocess.Popen[str], int, str]:
    """Start a command; its process, port and token."""
    process = subprocess.Popen(
        [sys.executable, "-c", "from medlsam.cli import main; main()", *map(str, words), "--no-browser"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"http://127\.0\.0\.1:(\d+)/\?token=(\S+)", line):
            return process, int(found[1]), found[2]
    raise AssertionError("the command ended")


def ask(port: int, token: str, path: str, body: dict[str, Any] | None = None) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {
        "Cookie": f"medlsam-{port}={token}",
        "Origin": f"http://127.0.0.1:{port}",
        "Content-Type": "application/json",
    }
    connection.request("GET" if body is None else "POST", path, body and json.dumps(body), headers)
    answer = connection.getresponse()
    content = json.loads(answer.read())
    assert answer.status == 200, content
    connection.close()
    return content


def test_annotate_ends_at_once_and_keeps_every_click(tmp_path: Path, make_ct: Any) -> None:
    write_volume(make_ct(Grid((20, 24, 28), (3.0, 4.0, 5.0))), tmp_path / "in" / "scan.nii.gz")
    process, port, token = started("annotate", tmp_path / "in", "--output", tmp_path / "out")
    ask(port, token, "/api/structure", {"name": "thing"})
    for seen, x in enumerate((10.0, 20.0, 30.0)):
        body = {"structure": "thing", "point": [x, 40, 40], "seen": seen}
        ask(port, token, "/api/case/0/place", body)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    assert sorted(point[0] for point in read_answers(tmp_path / "out" / "scan")["thing"].points) == [
        10,
        20,
        30,
    ]
    with run_lock(tmp_path / "out"):
        pass  # nobody holds the folder any more


def test_view_ends_at_once(results: Path) -> None:
    process, port, token = started("view", results)
    assert len(ask(port, token, "/api/run")["cases"]) == 3
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
