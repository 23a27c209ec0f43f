"""Builds of a pool that are killed at random moments, and then run to their end: is the hash always the same?

    python benchmarks/pretrain/pool_kills.py [--ct DIR] [--kills 20] [--json FILE]

Raw scans are some of ``../shared/ct`` (phantoms where there are none). A build runs in one process that gets SIGKILL;
the one that follows goes on. (``tests/pool/test_build.py`` kills the command with its processes.) About a minute.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.common import answer, command, options, progress
from medlsam.io.write import write_volume
from medlsam.phantoms import phantom
from medlsam.pool.build import build_pool
from medlsam.pool.find import find_scans


def kills(raw: Path, folder: Path, count: int) -> dict[str, Any]:
    """Kill builds at random moments, end them, and compare their hash with that of a build that was left alone."""
    start = time.perf_counter()
    whole = build_pool([raw], folder / "whole", jobs=0)
    seconds = time.perf_counter() - start
    # Forked, so that the moments lie in the build and not in the loading of libraries.
    forked = multiprocessing.get_context("fork")
    rng = np.random.default_rng(0)
    same, left = 0, []
    for n in range(count):
        output = folder / f"killed{n}"
        process = forked.Process(target=build_pool, args=([raw], output), kwargs={"jobs": 0})
        process.start()
        process.join(rng.uniform(0.0, 1.0) * seconds)
        process.kill()
        process.join()
        left.append(len(list(output.glob("sources/*.json"))))
        sha256 = build_pool([raw], output, jobs=0).sha256
        same += sha256 == whole.sha256
        progress(f"killed {n + 1} of {count} with {left[-1]} done: {sha256[:12]}")
    return {"scans": len(whole.rows), "kills": count, "same": same, "done_when_killed": left}


def raw_of(ct: Path, folder: Path) -> Path:
    """Raw scans to build from: real ones by links, else phantoms."""
    folder.mkdir()
    if ct.is_dir():
        for candidate in find_scans([ct / "openkbp" / "imagesTr"]).candidates[:8]:
            (folder / candidate.files[0].name).symlink_to(candidate.files[0])
    else:
        for n in range(12):
            write_volume(phantom(n, (5.0,) * 3, "thorax").image, folder / f"{n}.nii.gz")
    return folder


def kill_table(row: dict[str, Any]) -> Table:
    table = Table(
        "scans", "builds killed", "same hash", "sources done when killed", title="Interrupted builds"
    )
    done = ", ".join(map(str, sorted(row["done_when_killed"])))
    table.add_row(str(row["scans"]), str(row["kills"]), str(row["same"]), done)
    return table


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--kills", type=int, default=20, help="builds that are killed (%(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        row = kills(raw_of(arguments.ct.resolve(), folder / "raw"), folder, arguments.kills)
    answer([kill_table(row)], row, arguments.json)


if __name__ == "__main__":
    command(main)
