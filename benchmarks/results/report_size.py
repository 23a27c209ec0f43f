"""How large is the report of many scans, how long does it take to be written, and to open?

    python benchmarks/results/report_size.py [--cases 200] [--structures 8] [--keep DIR]

Phantoms of whole bodies (`--bodies` different ones, each stored another way) with noise; each made-up result has one of
them, with statuses, boxes and volumes that differ. Printed are, with n:

1. processor milliseconds of a structure's picture and of a scan's projections, when the scan is segmented;
2. seconds to write `report.html` from the pictures that are there, and its size;
3. seconds until headless Chromium has loaded it, until the first picture is decoded, until a column is sorted and the
   table is filtered; how many pictures were decoded until then.

Takes two minutes; `--keep` leaves the folder, to look at.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.common import answer, command, options, progress
from medlsam.errors import UsageError
from medlsam.export.report import write_report
from medlsam.export.thumbnails.file import write_thumbnails
from medlsam.export.thumbnails.projections import draw_projections
from medlsam.export.thumbnails.three_planes import Labelled, draw_three_planes
from medlsam.geometry import mask_box
from medlsam.io.write import write_volume
from medlsam.measure.statistics import write_statistics
from medlsam.phantoms import phantom
from medlsam.results import Localization, LocatedStructure, Segmentation, Status
from medlsam.runtime.atomic_files import write_json
from medlsam.volume import Image

#: Structures that every body has, large and small.
STRUCTURES = (
    "liver",
    "kidney_left",
    "kidney_right",
    "spleen",
    "heart",
    "lung_left",
    "lung_right",
    "pancreas",
    "bladder",
    "brain",
)
WAYS = ("LPS", "RAS", "LAS", "RPS", "LPI", "SLP", "PSL", "ASR")
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def main() -> None:
    """Print the table."""
    parser = options(__doc__, real=False)
    parser.add_argument("--cases", type=int, default=200, help="scans (%(default)s)")
    parser.add_argument("--structures", type=int, default=8, help="structures of each (%(default)s)")
    parser.add_argument("--bodies", type=int, default=4, help="different phantoms (%(default)s)")
    parser.add_argument(
        "--spacing", type=float, default=1.5, help="of the phantoms' voxels, mm (%(default)s)"
    )
    parser.add_argument("--repeats", type=int, default=5, help="times it is written and opened (%(default)s)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave the made-up results there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = arguments.keep or Path(made) / "out"
        drawing = make_results(folder, arguments)
        written = [timed(lambda: write_report(folder))[0] for _ in range(arguments.repeats)]
        size = (folder / "report.html").stat().st_size / 1e6
        opened = open_report(folder / "report.html", arguments.repeats)
    pictures = arguments.cases * arguments.structures
    rows = [
        ("picture of a structure, processor ms", drawing["structure"]),
        ("projections of a scan, processor ms", drawing["projections"]),
        (f"report of {arguments.cases} scans written, s", written),
        ("report opened in headless Chromium (load), s", opened["load"]),
        ("first picture decoded, s", opened["first"]),
        ("sorted by confidence, s", opened["sort"]),
        ("filtered by structure, s", opened["filter"]),
        (f"pictures decoded of {pictures}", opened["decoded"]),
    ]
    table = Table("what", "n", "median", "worst", title=f"report.html: {size:.1f} MB")
    for what, values in rows:
        cells = (
            (str(len(values)), f"{np.median(values):.2f}", f"{max(values):.2f}")
            if values
            else ("0", "–", "–")
        )
        table.add_row(what, *cells)
    answer([table], {"mb": size} | dict(rows), arguments.json)


def timed(work: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> tuple[float, Any]:
    """Seconds of some work, and its answer."""
    start = clock()
    found = work()
    return clock() - start, found


def make_results(folder: Path, arguments: Any) -> dict[str, list[float]]:
    """Write what `segment` writes, without segmenting; processor milliseconds of the pictures."""
    if arguments.structures > len(STRUCTURES):
        raise UsageError(f"--structures: there are {len(STRUCTURES)}, got {arguments.structures}")
    names = STRUCTURES[: arguments.structures]
    random = np.random.default_rng(0)
    times: dict[str, list[float]] = {"structure": [], "projections": []}
    records, rows = {}, []
    for body in range(arguments.bodies):
        progress(f"body {body + 1} of {arguments.bodies}")
        spacing = (arguments.spacing, arguments.spacing, 3.0)
        person = phantom(body, spacing, region="body", orientation=WAYS[body % len(WAYS)])
        by_name = {name: value for value, name in person.names.items()}
        values = {name: by_name[name] for name in names}
        boxes = {
            name: mask_box(person.labels.array == value, person.labels.grid) for name, value in values.items()
        }
        template = folder / "body"
        write_volume(
            person.labels,
            template / "segmentation.nii.gz",
            names={value: name for name, value in values.items()},
        )
        noise = random.integers(-12, 13, person.image.array.shape, dtype=np.int16)
        for number in range(body, arguments.cases, arguments.bodies):
            case = f"scan_{number + 1:03d}"
            # Another place of the same noise: no picture is that of another scan.
            image = Image(person.image.array + np.roll(noise, 7919 * number), person.image.grid)
            structures = {}
            for name, box in boxes.items():
                confidence = float(random.beta(6, 2))
                located = box.expand([float(off) for off in random.normal(0, 4, 6)])
                status: Status = "found" if confidence > 0.5 else "uncertain"
                error = float(random.gamma(4, 1))
                structures[name] = LocatedStructure(
                    name,
                    status,
                    confidence,
                    error,
                    box=box,
                    located_box=located,
                    prompt_box=located.expand(10.0),
                )
            found = Segmentation(
                case, person.labels, {v: n for n, v in values.items()}, Localization(case, structures)
            )
            own = folder / case
            own.mkdir(parents=True)
            os.link(template / "segmentation.nii.gz", own / "segmentation.nii.gz")
            write_json(own / "localization.json", found.localization.to_dict())
            write_thumbnails(found, image, own)
            if number < 2 * arguments.bodies:
                all_of_them = partial(draw_projections, image, list(structures.values()))
                times["projections"].append(1e3 * timed(all_of_them, time.process_time)[0])
                for name, value in values.items():
                    one = partial(draw_three_planes, image, Labelled(person.labels, value), structures[name])
                    times["structure"].append(1e3 * timed(one, time.process_time)[0])
            records[case] = {
                "image": f"/scans/{case}.nii.gz",
                "status": "done",
                "seconds": {"read": 1.0},
                "warnings": [],
            }
            for name, value in values.items():
                volume = np.prod(boxes[name].size) / 2000 * float(random.lognormal(0, 0.2))
                rows.append(
                    {
                        "case": case,
                        "organ": name,
                        "label": value,
                        "volume_ml": round(volume, 2),
                        "mean_hu": 50.0,
                        "std_hu": 12.0,
                    }
                )
        shutil.rmtree(template)
    write_json(folder / "labels.json", {str(value): name for name, value in values.items()})
    write_statistics(rows, folder / "statistics.csv")
    write_json(
        folder / "run.json", {"version": "0", "command": "segment", "cases": dict(sorted(records.items()))}
    )
    return times


def open_report(page: Path, repeats: int) -> dict[str, list[float]]:
    """Open the page in headless Chromium; nothing is measured where there is none."""
    found: dict[str, list[float]] = {key: [] for key in ("load", "first", "sort", "filter", "decoded")}
    path = os.environ.get("MEDLSAM_CHROMIUM") or next(filter(None, map(shutil.which, _BROWSERS)), None)
    if path is None:
        progress("no Chromium here, so that the page is not opened")
        return found
    from playwright.sync_api import sync_playwright

    pictures = "[...document.querySelectorAll('#table img')]"
    decoded = f"{pictures}.filter((image) => image.complete && image.naturalWidth).length"
    sort = "document.querySelector('[data-sort=confidence] button').click(); document.body.offsetHeight"
    with sync_playwright() as driver:
        for _ in range(repeats):
            browser = driver.chromium.launch(
                executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"]
            )
            tab = browser.new_page(viewport={"width": 1400, "height": 900})
            start = time.perf_counter()
            tab.goto(page.absolute().as_uri(), wait_until="load")
            found["load"].append(time.perf_counter() - start)
            while not tab.evaluate(
                f"{decoded} > 0"
            ):  # waiting in the page would evaluate a string, which it forbids
                tab.wait_for_timeout(5)
            found["first"].append(time.perf_counter() - start)
            found["decoded"].append(tab.evaluate(decoded))
            found["sort"].append(timed(partial(tab.evaluate, sort))[0])
            found["filter"].append(timed(partial(tab.select_option, "#structure", index=1))[0])
            browser.close()
    return found


if __name__ == "__main__":
    command(main)
