"""Many scans: the rate of two workers against one, memory over 200 scans, and what a killed worker costs.

    python benchmarks/scale/many.py [rate] [memory] [killed] [--segmenter sam-tiny] [--scans 24] [--count 200]
        [--keep FILE] [--ct ../shared/ct] [--real]

    rate     one process, then workers, each computing with one thread: seconds to be ready, then scans a minute
    memory   one process, --count scans of ten sizes: the peak of every scan, by blocks of 20; with --keep FILE the
             report over all of them is copied there
    killed   a worker is killed with SIGKILL in the middle of a run: is every file that of the serial run?

Scans are phantoms of heads and necks, or with --real the val cases of OpenKBP. Every row is its own process (Linux).
About 20 minutes on two cores; nothing else should run.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table

import medlsam
from benchmarks.common import answer, command, listed_cases, options, progress
from medlsam.batch import Progress, segment_folder
from medlsam.io.cases import Case
from medlsam.io.labels import read_label_map
from medlsam.io.write import write_volume
from medlsam.localize.build_templates import Template, build_templates
from medlsam.localize.templates.template_set import TemplateSet
from medlsam.phantoms import phantom

SEEDS = (1, 2)
#: Sizes differ as those of patients do: voxels of so many millimetres, in turn.
SPACINGS = (4.4, 3.6, 5.0, 4.0, 5.4, 4.6, 3.6, 4.5, 5.6, 3.8)
#: What is looked for in the phantoms: few structures, so that reading and writing count as well.
STRUCTURES = ("brainstem", "mandible")
BLOCK = 20
PARTS = ("rate", "memory", "killed")
#: A run: the row's name, processes, scheduler, and threads that each computes with.
WAYS = (
    ("this process", 1, None),
    ("--jobs 2", 2, None),
    ("--scheduler local, 1 worker", 1, "local"),
)
#: The first of them and the second, as ``killed`` compares them; the first one's results also with all threads.
SERIAL, TWO = WAYS[:2]


@dataclass(frozen=True)
class Job:
    """One row: what its process is to do."""

    segmenter: str
    templates: Path
    cases: tuple[Case, ...]
    output: Path
    jobs: int = 1
    scheduler: str | None = None
    threads: int = 1
    kill_after: int = 0
    sample: bool = False


class Watcher:
    """Follows a run from its first word to its last.

    Attributes:
        began: when the first scan was begun, seconds; None before.
        ended: when each scan ended, seconds.
        memory: (n, 2) GB, this process's peak during each scan and what it held after it.
        killed: workers that were killed.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.began: float | None = None
        self.ended: list[float] = []
        self.memory: list[tuple[float, float]] = []
        self.killed = 0

    def __call__(self, told: Progress) -> None:
        """Take the progress of ``segment_folder``."""
        if told.status == "running":
            self.began = self.began or time.perf_counter()
            return
        self.ended.append(time.perf_counter())
        if self.job.sample:
            self.memory.append(peak_and_held())
        if self.job.kill_after == len(self.ended):
            os.kill(workers()[0], signal.SIGKILL)
            self.killed += 1


def peak_and_held() -> tuple[float, float]:
    """This process's peak since the last call and what it holds, GB; the peak begins anew."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    Path("/proc/self/clear_refs").write_text("5")
    peak, held = (int(status[field].split()[0]) / 2**20 for field in ("VmHWM", "VmRSS"))
    return peak, held


def workers() -> list[int]:
    """The processes that were started from this one to work."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            started = (place / "cmdline").read_bytes()
        except (OSError, ValueError):  # it ended meanwhile
            continue
        if parent == os.getpid() and b"spawn_main" in started:
            found.append(int(place.name))
    return sorted(found)


def work(job: Job) -> dict[str, Any]:
    """Segment a row's scans, in a process of its own."""
    torch.set_num_threads(job.threads)
    model = medlsam.load(segmenter=job.segmenter, device="cpu")
    watcher = Watcher(job)
    began = time.perf_counter()
    result = segment_folder(
        model,
        TemplateSet.load(job.templates),
        job.cases,
        job.output,
        report=job.sample,
        on_progress=watcher,
        jobs=job.jobs,
        scheduler=job.scheduler,
    )
    # The first scans of all workers end about together: what comes after them is the rate, without the start.
    ended, first = watcher.ended, job.jobs - 1
    return {
        "done": len(result.done),
        "failed": result.failed,
        "killed": watcher.killed,
        "ready": (watcher.began or np.nan) - began,
        "seconds": time.perf_counter() - began,
        "per_minute": 60 * (len(ended) - 1 - first) / (ended[-1] - ended[first]),
        "memory": watcher.memory,
    }


def run(job: Job) -> dict[str, Any]:
    """Do a row in a fresh process, which may have children."""
    shutil.rmtree(job.output, ignore_errors=True)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_send, args=(job, theirs))
    process.start()
    theirs.close()
    found: dict[str, Any] = ours.recv()
    process.join()
    return found


def _send(job: Job, connection: Any) -> None:
    connection.send(work(job))


def phantoms(folder: Path, templates: Path) -> list[Path]:
    """Write scans of ten sizes, and templates of two more phantoms."""
    folder.mkdir()
    scans = []
    for number, spacing in enumerate(SPACINGS):
        made = phantom(seed=11 + number, spacing_xyz=(spacing,) * 3, region="head-neck")
        scans.append(folder / f"{number}.nii.gz")
        write_volume(made.image, scans[-1])
    pairs = [phantom(seed=seed, spacing_xyz=(3.0, 3.0, 3.0), region="head-neck") for seed in SEEDS]
    labelled = [Template(f"phantom {seed}", m.image, m.labels) for seed, m in zip(SEEDS, pairs, strict=True)]
    found = build_templates(medlsam.load().localizer, labelled, pairs[0].names, STRUCTURES, calibrate=False)
    found.save(templates)
    return scans


def patients(ct: Path, templates: Path) -> list[Path]:
    """The val cases of OpenKBP; templates are its own five."""
    medlsam.load().templates(ct / "openkbp" / "templates").save(templates)
    found = listed_cases(ct / "openkbp" / "imagesTr", f"{ct}/openkbp/splits.json:val", 0)
    return [case.path.absolute() for case in found]


def named(scans: Sequence[Path], count: int) -> tuple[Case, ...]:
    """So many cases of the scans in turn, each under a name of its own."""
    return tuple(Case(f"scan_{number:03d}", scans[number % len(scans)]) for number in range(count))


def rate(segmenter: str, templates: Path, cases: tuple[Case, ...], folder: Path) -> tuple[Table, Any]:
    """Scans a minute of each way."""
    table = Table(title=f"{len(cases)} scans, one thread a process, {os.cpu_count()} cores")
    for column in (
        "way",
        "seconds to be ready",
        "in all",
        "scans a minute, once running",
        "against one process",
    ):
        table.add_column(column, justify="left" if column == "way" else "right")
    rows: dict[str, Any] = {}
    for name, jobs, scheduler in WAYS:
        progress(f"rate: {name}")
        found = run(Job(segmenter, templates, cases, folder / "out", jobs, scheduler))
        rows[name] = {key: found[key] for key in ("done", "failed", "ready", "seconds", "per_minute")}
    for name, row in rows.items():
        ratio = row["per_minute"] / rows[SERIAL[0]]["per_minute"]
        numbers = (f"{row['ready']:.1f}", f"{row['seconds']:.1f}", f"{row['per_minute']:.1f}", f"{ratio:.2f}")
        table.add_row(name, *numbers)
    return table, rows


def memory(segmenter: str, templates: Path, cases: tuple[Case, ...], folder: Path) -> tuple[Table, Any]:
    """Peak and held memory over many scans, by blocks that each hold every size twice."""
    progress(f"memory: {len(cases)} scans")
    found = run(Job(segmenter, templates, cases, folder / "out", sample=True))
    samples = np.array(found["memory"])
    blocks = [samples[start : start + BLOCK] for start in range(0, len(samples), BLOCK)]
    peaks = np.array([block[:, 0].max() for block in blocks])
    # The first block holds what is allocated once.
    slope = np.polyfit(np.arange(BLOCK, len(samples)), samples[BLOCK:, 0], 1)[0] * len(samples)
    change = 100 * (peaks[1:].max() / peaks[1] - 1)
    report = (folder / "out" / "report.html").stat().st_size / 1e6
    table = Table(
        title=f"{len(cases)} scans in one process; from the second block on the highest peak is {change:+.1f} % "
        f"of its own, the trend over all scans {slope:+.3f} GB; the report has {report:.1f} MB"
    )
    for column in ("scans", "highest peak, GB", "mean peak, GB", "held after, GB"):
        table.add_column(column, justify="right")
    for number, block in enumerate(blocks):
        first = number * BLOCK
        values = (block[:, 0].max(), block[:, 0].mean(), block[:, 1].mean())
        table.add_row(f"{first + 1} to {first + len(block)}", *(f"{value:.3f}" for value in values))
    return table, {"memory": samples.tolist(), "trend_gb": slope, "change_percent": change}


def killed(segmenter: str, templates: Path, cases: tuple[Case, ...], folder: Path) -> tuple[Table, Any]:
    """Runs in which a worker is killed, against the serial run, file by file."""
    table = Table(title=f"{len(cases)} scans; a worker killed after the third, against one process")
    for column in ("way", "killed", "done", "failed", "files as in the serial run", "voxels that differ"):
        table.add_column(column, justify="left" if column == "way" else "right")
    serial, output = folder / "serial", folder / "out"
    run(Job(segmenter, templates, cases, serial))
    rows: dict[str, Any] = {}
    for name, jobs, scheduler in (TWO, ("this process, all threads", 1, None)):
        progress(f"killed: {name}")
        more: dict[str, Any] = {"kill_after": 3} if jobs > 1 else {"threads": os.cpu_count() or 1}
        found = run(Job(segmenter, templates, cases, output, jobs, scheduler, **more))
        same, voxels, files = compare(serial, output, cases)
        rows[name] = {"killed": found["killed"], "done": found["done"], "failed": found["failed"]}
        rows[name] |= {"same": same, "files": files, "voxels": voxels}
        counts = (found["killed"], found["done"], len(found["failed"]), f"{same} of {files}", voxels)
        table.add_row(name, *map(str, counts))
    return table, rows


def compare(serial: Path, output: Path, cases: tuple[Case, ...]) -> tuple[int, int, int]:
    """Files that are the same byte for byte, voxels of label maps that differ, and files in all."""
    files = ["statistics.csv", "labels.json"]
    files += [
        f"{case.name}/{file}" for case in cases for file in ("segmentation.nii.gz", "localization.json")
    ]
    same = sum(
        (output / file).is_file() and (output / file).read_bytes() == (serial / file).read_bytes()
        for file in files
    )
    voxels = 0
    for case in cases:
        maps = [read_label_map(place / case.name / "segmentation.nii.gz") for place in (serial, output)]
        voxels += int(np.count_nonzero(maps[0].array != maps[1].array))
    return same, voxels, len(files)


def main() -> None:
    """Measure and print."""
    parser = options(__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help="rate, memory, killed; all by default")
    parser.add_argument("--segmenter", default="sam-tiny", help="a known name or a weights file")
    parser.add_argument("--scans", type=int, default=24, help="of rate, and half of them of killed")
    parser.add_argument("--count", type=int, default=200, help="scans of memory")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="where memory's report is copied to")
    parser.add_argument("--real", action="store_true", help="val cases of OpenKBP instead of phantoms")
    arguments = parser.parse_args()
    parts = arguments.parts or PARTS
    if unknown := sorted(set(parts) - set(PARTS)):
        parser.error(f"unknown part {unknown[0]!r}; there are {', '.join(PARTS)}")
    counts = {"rate": arguments.scans, "memory": arguments.count, "killed": arguments.scans // 2}
    tables: list[Table] = []
    document: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="medlsam-") as place:
        folder, templates = Path(place), Path(place) / "templates.medlsam"
        progress("scans and templates")
        scans = patients(arguments.ct, templates) if arguments.real else phantoms(folder / "scans", templates)
        for part in parts:
            measure = {"rate": rate, "memory": memory, "killed": killed}[part]
            found = measure(arguments.segmenter, templates, named(scans, counts[part]), folder)
            tables.append(found[0])
            document[part] = found[1]
            if part == "memory" and arguments.keep is not None:
                shutil.copy(folder / "out" / "report.html", arguments.keep)
    answer(tables, document, arguments.json)


if __name__ == "__main__":
    command(main)
