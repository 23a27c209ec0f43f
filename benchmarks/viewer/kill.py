"""Kill server and browser while somebody annotates: is a saved click ever lost, or a file half-written?

    python benchmarks/viewer/kill.py [--rounds 20] [--seed 0] [--json FILE]

`medlsam annotate` and headless Chromium are processes of their own. Points are clicked through the page as fast as it
answers, structure after structure; at a random moment both are killed with SIGKILL. Then every file of the templates
folder is read: each click that the page had been told is saved must be there. The next round goes on in the same
folder. About three minutes; Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.common import answer, command, progress
from medlsam.io.write import write_volume
from medlsam.phantoms import phantom
from medlsam.viewer.annotate.scan_file import read_answers
from tests.support.web.browser import chromium

MARGIN = 0.2
_MEDLSAM = (sys.executable, "-c", "from medlsam.cli import main; main()")
_HEADLESS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
)


def started(words: list[str], pattern: str) -> tuple[subprocess.Popen[str], str]:
    """Start a program in a group of its own, and wait for a line of its standard error."""
    process = subprocess.Popen(
        words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(pattern, line):
            # what else it says must not fill the pipe
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return process, found[0]
    raise RuntimeError(f"{words[0]} ended")


def killed(process: subprocess.Popen[str]) -> None:
    """Kill a program and all that it started."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def kill_both(server: subprocess.Popen[str], browser: subprocess.Popen[str]) -> None:
    """Kill the server, then the browser."""
    killed(server)
    killed(browser)


def annotate(page: Any, number: int, until: float, said: list[list[float]]) -> None:
    """Click points through the page until a moment, or until the page is gone; notes each that is said to be saved."""

    def heard(response: Any) -> None:
        if response.request.method == "POST" and response.url.endswith("/place") and response.status == 200:
            with suppress(Exception):  # killed while it was read: then nobody was told
                answers = response.json()["answers"]["marks"]
                said[:] = [p for own in answers.values() for p in (*own["faces"].values(), *own["loose"])]

    page.on("response", heard)
    dice = random.Random(number)
    structure = 0
    while time.monotonic() < until:
        structure += 1
        page.fill("#name", f"round {number} structure {structure}")
        page.click("#add button")
        page.locator("#structures button.chosen", has_text=f"structure {structure}").wait_for(timeout=5000)
        for _ in range(6):
            plane = dice.choice(["axial", "coronal", "sagittal"])
            box = page.locator(f"#{plane}").bounding_box()
            x, y = (
                box[side] + box[length] * dice.uniform(0.5 - MARGIN, 0.5 + MARGIN)
                for side, length in (("x", "width"), ("y", "height"))
            )
            page.mouse.click(x, y)
            page.wait_for_timeout(dice.uniform(5, 60))


def one_round(folder: Path, number: int, seconds: float) -> tuple[int, int]:
    """Annotate, kill both, and read what is left: clicks said to be saved, and those of them that are not there."""
    from playwright.sync_api import Error, sync_playwright

    said: list[list[float]] = []
    server, url = started(
        [*_MEDLSAM, "annotate", str(folder / "in"), "--output", str(folder / "templates"), "--no-browser"],
        r"http://127\.0\.0\.1:\d+/\?token=\S+",
    )
    with tempfile.TemporaryDirectory() as profile:
        browser, address = started(
            [chromium(), *_HEADLESS, f"--user-data-dir={profile}", "about:blank"],
            r"ws://\S+",
        )
        try:
            with sync_playwright() as driver:
                page = driver.chromium.connect_over_cdp(address).contexts[0].new_page()
                page.set_default_timeout(5000)
                page.goto(url)
                page.wait_for_selector('#axial[data-shown]:not([data-shown=""])', timeout=30_000)
                stop = threading.Timer(seconds, kill_both, [server, browser])
                stop.start()
                with suppress(Error):  # the browser is gone
                    annotate(page, number, time.monotonic() + seconds + 1, said)
                stop.join()
        finally:
            for process in (server, browser):
                if process.poll() is None:
                    killed(process)
    kept = [
        list(point) for own in read_answers(folder / "templates" / "scan").values() for point in own.points
    ]
    for file in (folder / "templates").rglob("*.json"):
        json.loads(file.read_text(encoding="utf-8"))
    lost = [point for point in said if not any(_same(point, other) for other in kept)]
    return len(said), len(lost)


def _same(one: list[float], other: list[float]) -> bool:
    return all(abs(a - b) < 1e-3 for a, b in zip(one, other, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--rounds", type=int, default=20, help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    arguments = parser.parse_args()
    dice = random.Random(arguments.seed)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_volume(phantom(3, (5, 5, 5), (300, 480), fov_mm=380).image, folder / "in" / "scan.nii.gz")
        for number in range(arguments.rounds):
            seconds = dice.uniform(0.05, 3.0)
            said, lost = one_round(folder, number, seconds)
            progress(
                f"round {number + 1}: killed after {seconds:.2f} s, {said} clicks said to be saved, {lost} lost"
            )
            rows.append({"seconds": round(seconds, 3), "saved": said, "lost": lost})
    table = Table(title=f"server and browser killed {len(rows)} times while annotating", box=SIMPLE_HEAD)
    for head in ("clicks said to be saved at the last kill", "lost in any round", "files half-written"):
        table.add_column(head, justify="right")
    table.add_row(str(rows[-1]["saved"]), str(sum(row["lost"] for row in rows)), "0")
    answer([table], {"rounds": rows}, arguments.json)


if __name__ == "__main__":
    command(main)
