"""What a person waits for in the page: the first picture, a new slice, a correction's round trip; and its memory.

    python benchmarks/viewer/page_time.py [--slices 60] [--edits 50] [--no-browser] [--json FILE]

A scan of 512 x 512 x 600 voxels (a phantom at 0.8 x 0.8 x 1 mm), packed, with a label map of four structures, as a run
of `segment` leaves them. `medlsam view` is a process of its own. Printed are

- the first picture: from asking for a scan that is not open yet to its first slice, as the server answers; and of the
  first scan in headless Chromium, from opening the address, with the server up for two seconds (it reads that scan
  while the browser starts);
- a new slice in each plane: picture and outlines, as the server answers; and in Chromium from the key to the picture,
  slices that were fetched ahead and those that were not;
- a correction's round trip, from the request to the answer and the new outlines: a click, and a dragged face;
- the peak memory of the server, before and after the first correction (which loads the model).

Two minutes, half of it drawing the phantom.
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.common import answer, command, progress
from medlsam.geometry import mask_box
from medlsam.io.write import write_volume
from medlsam.phantoms import phantom
from medlsam.results import Localization, LocatedStructure
from medlsam.runtime.atomic_files import write_json
from medlsam.volume import LabelMap

STRUCTURES = ("liver", "spleen", "kidney_left", "kidney_right")
SPACING, REGION, FOV_MM = (0.8, 0.8, 1.0), (0.0, 600.0), 409.6
WINDOW = "low=-160&high=240"


def write_run(folder: Path) -> list[float]:
    """Write a scan and what `segment` would leave of it; returns the middle of the left kidney, LPS mm."""
    made = phantom(3, SPACING, REGION, FOV_MM)
    values = {name: value for value, name in made.names.items()}
    table = np.zeros(max(values.values()) + 1, np.uint8)
    for number, name in enumerate(STRUCTURES, start=1):
        table[values[name]] = number
    labels = LabelMap(table[made.labels.array], made.labels.grid)
    write_volume(made.image, folder / "in" / "scan.nii.gz")
    write_volume(labels, folder / "out" / "scan" / "segmentation.nii.gz")
    located = {}
    for number, name in enumerate(STRUCTURES, start=1):
        box = mask_box(labels.array == number, labels.grid)
        located[name] = LocatedStructure(name, "found", 0.9, 3.0, box=box, prompt_box=box.expand(5))
    write_json(folder / "out" / "scan" / "localization.json", Localization("scan", located).to_dict())
    write_json(folder / "out" / "labels.json", {str(n): name for n, name in enumerate(STRUCTURES, start=1)})
    record = {"image": str(folder / "in" / "scan.nii.gz"), "status": "done"}
    # the page reads the first one ahead; the second is the one that somebody waits for
    shutil.copytree(folder / "out" / "scan", folder / "out" / "scan_2")
    write_json(folder / "out" / "run.json", {"cases": {"scan": record, "scan_2": record}})
    kidney = located["kidney_left"].box
    assert kidney is not None
    return list(kidney.center)


class Server:
    """`medlsam view` in a process of its own, and requests to it over one connection, as a browser makes them."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "from medlsam.cli import main; main()",
                "view",
                str(folder),
                "--no-browser",
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        said = ""
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)/\?token=(\S+)", said)):
            said += self.process.stderr.readline()
        self.url, self.port, self.token = found[0], int(found[1]), found[2]
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port)

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Ask for something; JSON is read, pictures are bytes."""
        headers = {"Cookie": f"medlsam-{self.port}={self.token}", "Origin": f"http://127.0.0.1:{self.port}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        raw = None if body is None else json.dumps(body)
        self.connection.request("GET" if body is None else "POST", path, raw, headers)
        found = self.connection.getresponse()
        content = found.read()
        assert found.status == 200, content[:500]
        return json.loads(content) if found.headers["Content-Type"] == "application/json" else content

    def peak_mb(self) -> float:
        """Its peak memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        found = re.search(r"VmHWM:\s+(\d+)", status)
        return int(found[1]) / 1024 if found else float("nan")


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """Serve a run until the block ends."""
    server = Server(folder)
    try:
        yield server
    finally:
        server.process.terminate()
        server.process.wait(10)


def seconds(work: Callable[[], object]) -> float:
    """Wall seconds of something."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def slices(server: Server, shape: Sequence[int], count: int) -> dict[str, list[float]]:
    """Ask for slices of each plane, all over the scan, with their outlines."""
    found = {}
    random = np.random.default_rng(0)
    for plane, axis in (("axial", 2), ("coronal", 1), ("sagittal", 0)):
        places = random.integers(0, shape[axis], count).tolist()
        found[f"slice, {plane}"] = [
            seconds(
                lambda plane=plane, k=k: (  # type: ignore[misc]
                    server.ask(f"/api/case/0/slice/{plane}/{k}?{WINDOW}"),
                    server.ask(f"/api/case/0/outlines/{plane}/{k}"),
                )
            )
            for k in places
        ]
    return found


def corrections(server: Server, center: list[float], count: int) -> dict[str, list[float]]:
    """Correct the left kidney: clicks around its middle, and a face that moves to and fro."""
    state: dict[str, Any] = server.ask("/api/case/0/session")
    geometry = server.ask("/api/case/0")["geometry"]
    random = np.random.default_rng(0)
    index = round((center[2] - geometry["origin"][2]) / geometry["spacing"][2])

    def edit(action: str, **body: Any) -> None:
        nonlocal state
        state = server.ask(
            f"/api/case/0/{action}", {"structure": "kidney_left", "seen": state["seen"], **body}
        )
        for plane in ("axial", "coronal", "sagittal"):
            server.ask(f"/api/case/0/outlines/{plane}/{index}")

    clicks, faces = [], []
    for number in range(count):
        point = (np.asarray(center) + random.uniform(-25, 25, 3)).tolist()
        clicks.append(seconds(lambda p=point, n=number: edit("click", point=p, inside=n % 2 == 0)))  # type: ignore[misc]
    edit("clear")
    for _ in range(count):
        box = json.loads(json.dumps(state["structures"]["kidney_left"]["box"]))
        side, axis = random.choice(["min", "max"]), int(random.integers(3))
        box[side][axis] += float(random.uniform(-6, 6))
        faces.append(seconds(lambda box=box: edit("box", box=box)))  # type: ignore[misc]
    return {"correction, click": clicks, "correction, face dragged": faces}


def in_browser(server: Server, count: int) -> dict[str, list[float]]:
    """The same as headless Chromium shows it."""
    from tests.support.web.browser import browser

    with browser() as tab:
        time.sleep(2)
        first = seconds(lambda: (tab.page.goto(server.url), tab.shown()))
        tab.page.focus("#axial")
        tab.page.wait_for_timeout(1500)

        def go(key: str, step: int) -> float:
            there = f'#axial[data-shown="{tab.shown() + step}"]'
            tab.page.wait_for_timeout(150)
            return seconds(lambda: (tab.page.keyboard.press(key), tab.page.wait_for_selector(there)))

        walked = [go("ArrowUp", 1) for _ in range(count)]
        key, step = ("PageUp", 10) if tab.shown() < 300 else ("PageDown", -10)
        jumped = [go(key, step) for _ in range(min(count, 20))]
    return {
        "first picture, Chromium": [first],
        "next slice, Chromium": walked,
        "ten slices on, Chromium": jumped,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--slices", type=int, default=60, help="of each plane (%(default)s)")
    parser.add_argument("--edits", type=int, default=50, help="of each kind (%(default)s)")
    parser.add_argument("--no-browser", action="store_true", help="leave Chromium out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        progress("drawing the phantom")
        center = write_run(folder)
        figures: dict[str, list[float]] = {}
        with serving(folder / "out") as server:
            server.ask("/api/case/0/outlines/axial/0")
            opened: dict[str, Any] = {}

            def first() -> None:
                opened.update(server.ask("/api/case/1"))
                server.ask(f"/api/case/1/slice/axial/{opened['geometry']['shape'][2] // 2}?{WINDOW}")

            figures["first picture"] = [seconds(first)]
            figures |= slices(server, opened["geometry"]["shape"], arguments.slices)
            looked = server.peak_mb()
            figures["first correction (loads the model)"] = [
                seconds(lambda: server.ask("/api/case/0/session"))
            ]
            figures |= corrections(server, center, arguments.edits)
            corrected = server.peak_mb()
        if not arguments.no_browser:
            with serving(folder / "out") as server:
                figures |= in_browser(server, arguments.slices)
    table = Table(title="512 x 512 x 600, milliseconds", box=SIMPLE_HEAD)
    for head in ("what", "n", "median", "95 %", "worst"):
        table.add_column(head, justify="left" if head == "what" else "right")
    for what, own in figures.items():
        own_ms = 1000 * np.asarray(own)
        row = (np.median(own_ms), np.percentile(own_ms, 95), own_ms.max())
        table.add_row(what, str(len(own)), *(f"{value:.0f}" for value in row))
    table.caption = f"the server's peak memory: {looked:.0f} MB looking, {corrected:.0f} MB with corrections"
    answer(
        [table], {"seconds": figures, "peak_mb": {"looking": looked, "correcting": corrected}}, arguments.json
    )


if __name__ == "__main__":
    command(main)
