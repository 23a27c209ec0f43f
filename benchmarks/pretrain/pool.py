"""The pool's layout against others, and what its eight bits cost in HU.

    python benchmarks/pretrain/pool.py [--ct DIR] [--spacing 4] [--limit 60] [--seconds 5] [--json FILE]

Scans of ``../shared/ct`` (phantoms where there are none) are prepared as ``medlsam pool build`` does and written in
every layout. Two processes then draw random crops of 64 x 64 x 64 voxels as float32 HU: warm (files open, in memory)
and cold (each crop opens its file after the system was told to forget it; a host may still have it in memory). Zarr
and blosc2 are measured where they are installed (``pip install medlsam[bench]``). About 2 minutes.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.common import answer, command, evenly, options, progress
from benchmarks.pretrain.pool_layouts import Layout, hu_of, layouts
from medlsam.errors import MedlsamError
from medlsam.io.read import read_image
from medlsam.phantoms import phantom
from medlsam.pool.find import find_scans
from medlsam.pool.packed_scan import to_codes
from medlsam.pool.preprocess import prepare
from medlsam.volume import Image

SIZE = (64, 64, 64)
PROCESSES = 2
#: Name, lowest and highest HU.
TISSUES = (
    ("lung", -980, -224),
    ("fat and soft tissue", -224, 226),
    ("bone", 226, 1186),
    ("teeth, metal", 1186, 3071),
)


def files_of(path: Path) -> list[Path]:
    return [f for f in path.rglob("*") if f.is_file()] if path.is_dir() else [path]


def forget(path: Path) -> None:
    """Tell the system that the pages of a scan are not needed again."""
    for file in files_of(path):
        handle = os.open(file, os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def draw(job: tuple[str, list[tuple[Path, tuple[int, ...]]], float, int, bool]) -> tuple[float, float, float]:
    """Crops a second, KB read from the disk and milliseconds of the processor a crop, of one process."""
    name, scans, seconds, seed, cold = job
    read = next(layout.read for layout in layouts() if layout.name == name)
    rng = np.random.default_rng(seed)
    opened = {} if cold else {path: read(path) for path, _ in scans}
    count, start, before, worked = 0, time.perf_counter(), _read_bytes(), time.process_time()
    while time.perf_counter() - start < seconds:
        path, shape = scans[int(rng.integers(len(scans)))]
        if cold:
            forget(path)
        first = [int(rng.integers(0, n - s + 1)) for n, s in zip(shape, SIZE, strict=True)]
        where = [slice(a, a + s) for a, s in zip(first, SIZE, strict=True)]
        crop = (read(path) if cold else opened[path])(where)
        assert crop.shape == SIZE
        assert crop.dtype == np.float32
        count += 1
    worked = time.process_time() - worked
    return (
        count / (time.perf_counter() - start),
        (_read_bytes() - before) / 1000 / count,
        1000 * worked / count,
    )


def _read_bytes() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("read_bytes")))


def measure(layout: Layout, scans: list[Image], folder: Path, seconds: float) -> dict[str, Any]:
    """Bytes of a layout and its crops a second with two processes."""
    folder.mkdir()
    paths = [folder / f"{n}.scan" for n in range(len(scans))]
    for path, scan in zip(paths, scans, strict=True):
        layout.write(path, scan)
    os.sync()
    size = sum(f.stat().st_size for path in paths for f in files_of(path))
    voxels = sum(scan.array.size for scan in scans)
    places = [(path, scan.array.shape) for path, scan in zip(paths, scans, strict=True)]
    # Of scans that are smaller than a crop along an axis nothing is drawn.
    places = [(p, shape) for p, shape in places if all(n >= s for n, s in zip(shape, SIZE, strict=True))]
    row: dict[str, Any] = {"layout": layout.name, "of_int16": size / (2 * voxels)}
    for kind, cold in (("warm", False), ("cold", True)):
        jobs = [(layout.name, places, seconds, seed, cold) for seed in range(PROCESSES)]
        with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
            rates = pool.map(draw, jobs, chunksize=1)
        row[f"{kind}_crops_s"] = sum(rate for rate, _, _ in rates)
        row[f"{kind}_kb_a_crop"] = float(np.mean([kb for _, kb, _ in rates]))
        row[f"{kind}_processor_ms"] = float(np.mean([ms for _, _, ms in rates]))
    row["drawn_from"] = len(places)
    return row


def hu_errors(scans: Sequence[Image]) -> list[dict[str, Any]]:
    """What eight bits cost, by tissue, beside how much neighbouring voxels differ."""
    rows = []
    for name, low, high in TISSUES:
        errors, steps = [], []
        for scan in scans:
            inside = (scan.array >= low) & (scan.array < high)
            errors.append((hu_of(to_codes(scan.array)) - scan.array)[inside])
            both = inside[..., 1:] & inside[..., :-1]
            steps.append(np.abs(np.diff(scan.array, axis=2))[both])
        error, step = np.concatenate(errors), np.concatenate(steps)
        rows.append(
            {
                "tissue": f"{name} ({low} to {high} HU)",
                "n": len(error),
                "mean": float(error.mean()),
                "rms": float(np.sqrt(np.square(error).mean())),
                "largest": float(np.abs(error).max()),
                "neighbours": float(np.median(step)),
            }
        )
    return rows


def scans_of(ct: Path, spacing: float, limit: int) -> list[Image]:
    """Prepared scans: of the real ones, else of phantoms."""
    if not ct.is_dir():
        progress(f"{ct}: not there, phantoms instead")
        made = [phantom(n, (spacing,) * 3, "body").image for n in range(min(limit, 8))]
        return [scan for volume in made if (scan := prepare(volume, spacing)) is not None]
    prepared = []
    for candidate in evenly(find_scans([ct / "openkbp" / "imagesTr", ct / "body"]).candidates, limit):
        try:
            scan = prepare(read_image(candidate.files[0]), spacing)
        except MedlsamError as error:
            progress(str(error))
            continue
        if scan is not None:
            prepared.append(scan)
    return prepared


def layout_table(rows: Sequence[dict[str, Any]], title: str) -> Table:
    heads = (
        "layout",
        "bytes of int16",
        "crops/s, warm",
        "cold",
        "KB read, cold",
        "ms of a core, warm",
        "cold",
    )
    table = Table(*heads, title=title)
    for row in rows:
        table.add_row(
            row["layout"],
            f"{100 * row['of_int16']:.0f} %",
            f"{row['warm_crops_s']:.0f}",
            f"{row['cold_crops_s']:.0f}",
            f"{row['cold_kb_a_crop']:.0f}",
            f"{row['warm_processor_ms']:.2f}",
            f"{row['cold_processor_ms']:.2f}",
        )
    return table


def error_table(rows: Sequence[dict[str, Any]]) -> Table:
    heads = ("tissue", "n", "mean error", "rms", "largest", "neighbours differ by (median)")
    table = Table(*heads, title="Eight bits, HU")
    for row in rows:
        numbers = (f"{row[key]:.2f}" for key in ("mean", "rms", "largest", "neighbours"))
        table.add_row(row["tissue"], str(row["n"]), *numbers)
    return table


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--spacing", type=float, default=4.0, help="mm (%(default)s)")
    parser.add_argument("--limit", type=int, default=60, help="scans (%(default)s; 0: all)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement (%(default)s)")
    arguments = parser.parse_args()
    scans = scans_of(arguments.ct.resolve(), arguments.spacing, arguments.limit)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for n, layout in enumerate(layouts()):
            progress(layout.name)
            rows.append(measure(layout, scans, Path(folder) / f"layout{n}", arguments.seconds))
    errors = hu_errors(scans)
    title = f"{len(scans)} scans at {arguments.spacing:g} mm, crops of 64³ of {rows[0]['drawn_from']} of them"
    tables = [layout_table(rows, f"{title}, {PROCESSES} processes"), error_table(errors)]
    answer(tables, {"layouts": rows, "hu": errors}, arguments.json)


if __name__ == "__main__":
    command(main)
