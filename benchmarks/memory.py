"""Peak memory and time of one large scan, from its file to segmented structures, with the encoder whole and in tiles.

    python benchmarks/memory.py [--shape 2000 512 512] [--spacing 0.75 0.75 0.8] [--packed] [--oblique 0]
        [--localizer medlam-tiny] [--until segment]

Every row is a process of its own, so that its peak is its own. Peak is the resident memory of the whole process,
with Python and PyTorch (the first row); Linux only. The scan is a phantom from its thighs to the crown, and so are the
templates. Making it takes 10 GB.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from medlsam.geometry import Grid
from medlsam.io.read import read_image
from medlsam.io.write import write_volume
from medlsam.localize.build_templates import Template, build_templates
from medlsam.localize.localizer import Localizer, load_localizer
from medlsam.localize.locate import locate
from medlsam.localize.network import tiling
from medlsam.localize.network.encoder import Encoder, EncoderConfig, fast_layout
from medlsam.localize.templates.template_set import TemplateSet
from medlsam.phantoms import phantom
from medlsam.pipeline.model import MedLSAM
from medlsam.results import Localization
from medlsam.volume import Image, resample

SEEDS, SCAN, REGION = (1, 2), 11, "body"
STAGES = ("start", "read", "embed", "locate", "segment")


def write_scan(path: Path, shape: tuple[int, ...], spacing: tuple[float, ...], degrees: float) -> None:
    """Write a scan of a phantom in the middle of a grid."""
    made = phantom(SCAN, (4.0, 4.0, 4.0), REGION, fov_mm=shape[2] * spacing[0]).image
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    direction = (1.0, 0.0, 0.0, 0.0, float(cos), float(-sin), 0.0, float(sin), float(cos))
    extent = (np.array(shape[::-1]) - 1) * spacing / 2
    origin = np.asarray(made.grid.box.center) - np.reshape(direction, (3, 3)) @ extent
    grid = Grid(
        (shape[0], shape[1], shape[2]), (spacing[0], spacing[1], spacing[2]), tuple(origin), direction
    )
    hu = resample(made, grid).array
    noise = np.random.default_rng(0).normal(0, 10, (8, *shape[1:])).astype(np.float32)
    array = np.empty(shape, np.int16)
    for k, plane in enumerate(hu):
        array[k] = plane + noise[k % 8]
    write_volume(Image(array, grid), path)


def load(name: str) -> Localizer:
    """A localizer by name; ``random`` is one of random weights with features at strides 4, 2 and 1."""
    if name != "random":
        return load_localizer(name, "cpu")
    torch.manual_seed(0)
    network = fast_layout(Encoder(EncoderConfig(feature_strides=(4, 2, 1))).eval().requires_grad_(False))
    return Localizer(name, network, "0" * 64, torch.device("cpu"))


def write_templates(path: Path, localizer: str) -> int:
    """Templates of phantoms: not of the scan's structures, but as many and as large as a real set. Their number."""
    made = [phantom(seed, (4.0, 4.0, 4.0), REGION) for seed in SEEDS]
    scans = [Template(f"phantom {seed}", m.image, m.labels) for seed, m in zip(SEEDS, made, strict=True)]
    templates = build_templates(load(localizer), scans, made[0].names, calibrate=False)
    templates.save(path)
    return len(templates.structures)


def measure(job: tuple[str, str, str, str, bool]) -> tuple[float, float, float, int]:
    """Run up to one stage: seconds of that stage, peak and what is held at its end (GB), structures segmented."""
    path, templates, name, until, tiled = job
    localizer = load(name)
    if tiled:
        # Whether or not ``embed`` itself goes through tiles.
        assert isinstance(localizer.network, Encoder), "tiles are of a dense encoder"
        tiled_pass = partial(tiling.encode, localizer.network, dtype=torch.float16)
        localizer.network.forward = tiled_pass  # type: ignore[method-assign]
    else:
        tiling.BUDGET = sys.maxsize
    seconds, structures = 0.0, 0
    for stage in STAGES[: STAGES.index(until) + 1]:
        began = time.perf_counter()
        if stage == "read":
            volume = read_image(path)
        elif stage == "embed":
            embedding = localizer.embed(volume)
        elif stage == "locate":
            found = TemplateSet.load(templates)
            located = Localization("scan", locate(embedding, found), volume)
            # As a run over many scans does.
            del embedding
        elif stage == "segment":
            model = MedLSAM(localizer)
            segmented = model.segment_located(volume, located, found.values)
            write_volume(segmented.labels, Path(path).with_name("labels.nii.gz"))
            structures = len(np.unique(segmented.labels.array)) - 1
        seconds = time.perf_counter() - began
    # Not getrusage: its peak begins with that of the process that started this one.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak, held = (int(status[field].split()[0]) / 2**20 for field in ("VmHWM", "VmRSS"))
    return seconds, peak, held, structures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=(2000, 512, 512), help="slices, rows, columns")
    parser.add_argument("--spacing", type=float, nargs=3, default=(0.75, 0.75, 0.8), help="x, y, z, mm")
    parser.add_argument("--oblique", type=float, default=0.0, help="turn about x, degrees")
    parser.add_argument("--packed", action="store_true", help="write nii.gz instead of nii")
    parser.add_argument("--localizer", default="medlam-tiny", help="name, file, or random (strides 4, 2, 1)")
    parser.add_argument("--until", choices=STAGES, default=STAGES[-1], help="the last stage to measure")
    arguments = parser.parse_args()
    fresh = multiprocessing.get_context("spawn")
    size = " x ".join(str(n) for n in arguments.shape[::-1])
    with tempfile.TemporaryDirectory() as folder:
        path, templates = (
            Path(folder) / f"scan.nii{'.gz' if arguments.packed else ''}",
            Path(folder) / "t.medlsam",
        )
        write_scan(path, tuple(arguments.shape), tuple(arguments.spacing), arguments.oblique)
        what = arguments.localizer
        if arguments.until in STAGES[3:]:
            what = f"{what}, {write_templates(templates, what)} structures of {len(SEEDS)} templates"
        table = Table(title=f"{size} voxels of {' x '.join(f'{s:g}' for s in arguments.spacing)} mm, {what}")
        for column in (
            "until",
            "encoder",
            "seconds of the stage",
            "peak, GB",
            "held after, GB",
            "structures segmented",
        ):
            table.add_column(column, justify="left" if column in ("until", "encoder") else "right")
        jobs = [("start", False), ("read", False)]
        jobs += [(stage, tiled) for stage in STAGES[2:] for tiled in (False, True)]
        jobs = [job for job in jobs if STAGES.index(job[0]) <= STAGES.index(arguments.until)]
        for until, tiled in jobs:
            # A fresh process each: what was freed still counts in the peak of the process that held it.
            with fresh.Pool(1) as pool:
                job = (str(path), str(templates), arguments.localizer, until, tiled)
                (found,) = pool.map(measure, [job])
            encoder = "-" if until in ("start", "read") else "tiles" if tiled else "whole"
            row = (until, encoder, *(f"{value:.2f}" for value in found[:3]), str(found[3] or ""))
            print(*row, file=sys.stderr, flush=True)
            table.add_row(*row)
    Console().print(table)


if __name__ == "__main__":
    main()
