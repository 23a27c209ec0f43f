"""The loss curves of one process and of two with half of the batch each, in the recipe of the weights that ship.

    python benchmarks/pretrain/two_processes.py [--steps 60] [--precision 32-true] [--batch 4] [--config FILE]

Both train ``configs/pretrain_tiny.yaml`` (its network, learning rate and warm-up) on phantoms, on CPUs, the second
over gloo. Printed is how far the losses of the same step are apart; and, to compare, how far one process is from
itself with another number of threads, which changes the order of sums and nothing else. About four minutes on two
cores.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import yaml
from rich.table import Table

from benchmarks.common import answer, command, options, progress
from medlsam.io.write import write_volume
from medlsam.phantoms import phantom

SEEDS = (1, 2, 3, 4)


def recipe(config: Path, folder: Path, steps: int, precision: str, batch: int) -> Path:
    """The configuration, shortened, on phantoms alone."""
    content = yaml.safe_load(config.read_text())
    scans = folder / "scans"
    scans.mkdir()
    for seed in SEEDS:
        write_volume(phantom(seed, (4.0, 4.0, 4.0), "head-neck").image, scans / f"{seed}.nii.gz")
    content["model"] |= {"validation_phantoms": 0}
    content["data"] |= {
        "sources": [{"path": str(scans)}], "phantoms": 0, "cache": str(folder / "cache"), "num_workers": 0,
        "scans_per_step": batch, "steps_per_epoch": steps, "validation_scans": 1,
    }  # fmt: skip
    content["trainer"] |= {
        "max_steps": steps, "accelerator": "cpu", "precision": precision, "log_every_n_steps": 1,
        "check_val_every_n_epoch": steps + 1, "callbacks": [],
    }  # fmt: skip
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def curve(config: Path, place: Path, processes: int, threads: int) -> np.ndarray:
    """(steps,) losses of a run."""
    folder = place / f"{processes}-{threads}"
    logger = f"{{class_path: lightning.pytorch.loggers.CSVLogger, init_args: {{save_dir: {folder}}}}}"
    more = ["--trainer.default_root_dir", str(folder), "--trainer.logger", logger]
    more += ["--trainer.devices", str(processes)]
    if processes > 1:
        # torch's own layers need GPUs
        plugins = "[{class_path: tests.support.sync_batchnorm.SharedStatistics}]"
        more += ["--trainer.strategy", "ddp", "--trainer.plugins", plugins]
    words = [sys.executable, "-m", "medlsam.localize.pretrain.module", "fit", "--config", str(config), *more]
    subprocess.run(
        words, check=True, env={**os.environ, "OMP_NUM_THREADS": str(threads)}, stdout=subprocess.DEVNULL
    )
    (found,) = folder.rglob("metrics.csv")
    with found.open() as file:
        return np.array([float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]])


def main() -> None:
    """Train twice and compare."""
    parser = options(__doc__, real=False)
    parser.add_argument("--config", type=Path, default=Path("configs/pretrain_tiny.yaml"), metavar="FILE")
    parser.add_argument("--steps", type=int, default=60, help="optimisation steps (%(default)s)")
    parser.add_argument("--precision", default="32-true", help="Lightning's name (%(default)s)")
    parser.add_argument("--batch", type=int, default=4, help="scans a step, both together (%(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        path = recipe(arguments.config, folder, arguments.steps, arguments.precision, arguments.batch)
        cores = os.cpu_count() or 1
        progress("one process")
        one = curve(path, folder, 1, cores)
        progress("two processes")
        two = curve(path, folder, 2, max(1, cores // 2))
        progress("one process, other threads")
        other = curve(path, folder, 1, 1 if cores > 1 else 2)
    table = Table(
        title=f"{arguments.batch} scans a step, {arguments.precision}: largest difference of the losses so far"
    )
    for head in (
        "steps",
        "loss of one",
        "of two",
        "difference",
        "of the loss",
        "other threads",
        "of the loss",
    ):
        table.add_column(head, justify="right")
    for step in sorted({1, 2, 5, 10, 20, 30, 50, arguments.steps} & set(range(1, arguments.steps + 1))):
        cells = [f"{one[step - 1]:.5f}", f"{two[step - 1]:.5f}"]
        for curve_ in (two, other):
            apart = np.abs(one - curve_)[:step]
            cells += [f"{apart.max():.1e}", f"{(apart / one[:step]).max():.1e}"]
        table.add_row(str(step), *cells)
    document = {"one": one.tolist(), "two": two.tolist(), "other_threads": other.tolist()}
    answer([table], document, arguments.json)


if __name__ == "__main__":
    command(main)
