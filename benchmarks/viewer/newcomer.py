"""The whole way of a newcomer, step by step: from scans to the first own structures segmented in a fourth scan.

    python benchmarks/viewer/newcomer.py [--json FILE]

`medlsam annotate` and `medlsam segment` of this environment run as processes of their own. Three phantoms are marked by
clicks in headless Chromium (two structures, six points each), templates are built by the page's button, the server is
ended by Ctrl-C, and a fourth phantom is segmented. Printed are the seconds of every step, and the Dice of the fourth
scan. A robot clicks far faster than a person: the last lines say what a person's clicks would add. One to two minutes;
needs Chromium and Playwright.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from rich.box import SIMPLE_HEAD
from rich.table import Table

import medlsam
from benchmarks.common import answer
from medlsam.io.labels import read_label_map
from medlsam.measure.metrics import dice
from medlsam.phantoms import Phantom
from medlsam.viewer.annotate_routes import TEMPLATES_FILE
from tests.support.web.browser import Tab, browser
from tests.support.web.clicking import add, open_scan, place_all

STRUCTURES = ("liver", "spleen")
SPACING, REGION, FOV_MM = (3.0, 3.0, 3.0), (260.0, 560.0), 380.0
MARKED = 3
#: Of a person, for finding the slice and the outermost point: assumed, not measured.
SECONDS_A_CLICK = 8.0


@dataclass
class Steps:
    """What was done, and how long it took.

    Attributes:
        done: words to seconds, in order.
        clicks: points that were placed.
    """

    done: dict[str, float] = field(default_factory=dict)
    clicks: int = 0

    @contextmanager
    def step(self, words: str) -> Iterator[None]:
        """Time one step."""
        start = time.perf_counter()
        yield
        self.done[words] = time.perf_counter() - start

    @property
    def total(self) -> float:
        """Seconds of all steps."""
        return sum(self.done.values())

    def table(self) -> Table:
        """Every step with its seconds."""
        made = Table("step", "seconds", box=SIMPLE_HEAD)
        for words, seconds in [*self.done.items(), ("all", self.total)]:
            made.add_row(words, f"{seconds:.1f}")
        return made

    def of_a_person(self) -> str:
        """What clicks by hand would add, in words."""
        extra = self.clicks * SECONDS_A_CLICK
        return (
            f"{self.clicks} clicks by a robot; a person who needs {SECONDS_A_CLICK:.0f} s for each takes {extra:.0f} s "
            f"more: {(self.total + extra) / 60:.1f} min in all"
        )


def address_in(line: str) -> str | None:
    """The address that a line of output tells, or None."""
    found = re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", line)
    return None if found is None else found[0]


def address(messages: IO[str]) -> str:
    """Wait for the address of a server.

    Raises:
        RuntimeError: it ended before it told one.
    """
    seen = []
    for line in messages:
        seen.append(line)
        if (found := address_in(line)) is not None:
            return found
    raise RuntimeError(f"medlsam annotate ended: {''.join(seen)}")


def command(*words: str | Path) -> list[str]:
    """A command line of the installed `medlsam`."""
    return [str(Path(sys.executable).parent / "medlsam"), *map(str, words)]


def mark(tab: Tab, people: Sequence[Phantom], steps: Steps) -> None:
    """Add the structures and click their six points in every scan."""
    with steps.step("type the names of two structures"):
        for name in STRUCTURES:
            add(tab, name)
    for number, person in enumerate(people, start=1):
        with steps.step(f"scan {number}: two structures, 12 clicks"):
            pointer = open_scan(tab, f"person_{number}")
            for name in STRUCTURES:
                tab.page.locator("#structures button", has_text=name).click()
                place_all(tab, pointer, ends(person, name))
                steps.clicks += 6
            tab.page.locator("#cases li.chosen", has_text="done").wait_for()


def ends(person: Phantom, name: str) -> medlsam.ExtremePoints:
    """The true extreme points of a structure."""
    (value,) = (value for value, known in person.names.items() if known == name)
    return medlsam.ExtremePoints.from_mask(person.labels.array == value, person.labels.grid)


def go(folder: Path) -> tuple[Steps, dict[str, float]]:
    """Go the whole way.

    Returns:
        The steps, and structure to Dice in the fourth scan.
    """
    people = [medlsam.phantom(seed, SPACING, REGION, fov_mm=FOV_MM) for seed in range(1, MARKED + 2)]
    for number, person in enumerate(people, start=1):
        own = folder / ("scans" if number <= MARKED else "new")
        medlsam.write_volume(person.image, own / f"person_{number}.nii.gz")
    steps, templates = Steps(), folder / "templates"
    words = command("annotate", folder / "scans", "--output", templates, "--no-browser")
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, cwd=folder) as server:
        try:
            assert server.stderr is not None
            with steps.step("medlsam annotate tells its address"):
                url = address(server.stderr)
            with browser() as tab:
                with steps.step("the page shows the first scan"):
                    tab.page.goto(url)
                    tab.shown()
                mark(tab, people[:MARKED], steps)
                with steps.step("Build templates"):
                    tab.page.click("#build")
                    tab.page.locator("#message", has_text="wrote").wait_for(timeout=300_000)
                if tab.complaints:
                    raise RuntimeError(f"the page complained: {tab.complaints}")
            with steps.step("Ctrl-C"):
                server.send_signal(signal.SIGINT)
                server.wait(30)
        finally:
            server.kill()
    with steps.step("medlsam segment, the fourth scan"):
        words = command("segment", "--support", templates / TEMPLATES_FILE, "--images", folder / "new")
        subprocess.run([*words, "--output", str(folder / "out"), "--quiet"], check=True, cwd=folder)
    return steps, scores(folder / "out", people[-1])


def scores(output: Path, person: Phantom) -> dict[str, float]:
    """Structure to Dice of the one scan of a run."""
    (file,) = output.glob("*/segmentation.nii.gz")
    found = read_label_map(file).array
    names = json.loads((output / "labels.json").read_text(encoding="utf-8"))
    truth = {name: person.labels.array == value for value, name in person.names.items()}
    return {name: dice(found == int(value), truth[name]) for value, name in names.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        steps, found = go(Path(folder))
    answer([steps.table()], {"seconds": steps.done, "clicks": steps.clicks, "dice": found}, arguments.json)
    for name, value in found.items():
        print(f"{name}: Dice {value:.2f} in the fourth scan")
    print(steps.of_a_person())


if __name__ == "__main__":
    main()
