"""Peak memory and time of one large scan, from its file to located structures, with the encoder whole and in tiles.

    python benchmarks/memory.py [--shape 2000 512 512] [--spacing 0.75 0.75 0.8] [--packed] [--oblique 0]
        [--localizer medlam-tiny] [--until locate]

Every row is a process of its own, so that its peak is its own. Peak is the resident memory of the whole process,
with Python and PyTorch (the first row); Linux only. The scan is made up: an ellipse of tissue with lungs, spine and
noise.
"""

from __future__ import annotations

import argparse
import gzip
import multiprocessing
import struct
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
import torch
from rich.console import Console
from rich.table import Table

from medlsam.localize import tiling
from medlsam.localize.build import Support, build_templates
from medlsam.localize.encoder import Encoder, EncoderConfig, fast_layout
from medlsam.localize.localizer import Localizer, load_localizer
from medlsam.localize.locate import locate
from medlsam.localize.templates import TemplateSet
from medlsam.phantom import phantom
from medlsam.volume import read_volume

SEEDS = (1, 2)
STAGES = ("start", "read", "embed", "locate")


def write_scan(path: Path, shape: tuple[int, ...], spacing: tuple[float, ...], degrees: float) -> None:
    """Write a scan slice by slice, so that the size of the scan does not matter here."""
    depth, rows, columns = shape
    image = sitk.Image(columns, rows, 1, sitk.sitkInt16)
    image.SetSpacing(spacing)
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    image.SetDirection([1, 0, 0, 0, cos, -sin, 0, sin, cos])
    plain = path.with_name("header.nii")
    sitk.WriteImage(image, str(plain))
    header = bytearray(plain.read_bytes()[:352])
    struct.pack_into("<h", header, 46, depth)
    y, x = np.mgrid[:rows, :columns]
    y, x = (y / rows - 0.5) / 0.3, (x / columns - 0.5) / 0.4
    generator = np.random.default_rng(0)
    noise = generator.normal(0, 15, (8, rows, columns))
    with gzip.open(path, "wb", compresslevel=1) if path.suffix == ".gz" else path.open("wb") as file:
        file.write(header)
        for k in range(depth):
            size = 0.8 + 0.2 * np.sin(k / depth * 12)
            hu = np.where(x**2 + y**2 < size, 40.0, -1000.0)
            if depth // 3 < k < depth // 2:
                hu[(np.abs(x) - 0.4) ** 2 * 6 + y**2 * 2 < 0.5] = -800
            hu[x**2 * 30 + (y - 0.5) ** 2 * 20 < 0.4] = 400
            file.write((hu + noise[k % 8]).astype("<i2").tobytes())


def load(name: str) -> Localizer:
    """A localizer by name; ``random`` is one of random weights with features at strides 4, 2 and 1."""
    if name != "random":
        return load_localizer(name, "cpu")
    torch.manual_seed(0)
    network = fast_layout(Encoder(EncoderConfig(feature_strides=(4, 2, 1))).eval().requires_grad_(False))
    return Localizer(name, network, "0" * 64, torch.device("cpu"))


def write_templates(path: Path, localizer: str) -> int:
    """Templates of phantoms: not of the scan's structures, but as many and as large as a real set. Their number."""
    made = [phantom(seed, (6.0, 6.0, 6.0), "thorax") for seed in SEEDS]
    supports = [Support(f"phantom {seed}", m.image, m.labels) for seed, m in zip(SEEDS, made, strict=True)]
    templates = build_templates(load(localizer), supports, made[0].names, calibrate=False)
    templates.save(path)
    return len(templates.organs)


def measure(job: tuple[str, str, str, str, bool]) -> tuple[float, float, float]:
    """Run up to one stage and report the seconds of that stage, the peak and what is held at the end, in GB."""
    path, templates, name, until, tiled = job
    localizer = load(name)
    if tiled:
        # Whether or not ``embed`` itself goes through tiles.
        localizer.network.forward = partial(tiling.encode, localizer.network, dtype=torch.float16)
    else:
        tiling.BUDGET = sys.maxsize
    seconds = 0.0
    for stage in STAGES[: STAGES.index(until) + 1]:
        began = time.perf_counter()
        if stage == "read":
            volume = read_volume(path)
        elif stage == "embed":
            embedding = localizer.embed(volume)
        elif stage == "locate":
            locate(embedding, TemplateSet.load(templates))
        seconds = time.perf_counter() - began
    # Not getrusage: its peak begins with that of the process that started this one.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak, held = (int(status[field].split()[0]) / 2**20 for field in ("VmHWM", "VmRSS"))
    return seconds, peak, held


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=(2000, 512, 512), help="slices, rows, columns")
    parser.add_argument("--spacing", type=float, nargs=3, default=(0.75, 0.75, 0.8), help="x, y, z, mm")
    parser.add_argument("--oblique", type=float, default=0.0, help="turn about x, degrees")
    parser.add_argument("--packed", action="store_true", help="write nii.gz instead of nii")
    parser.add_argument("--localizer", default="medlam-tiny", help="name, file, or random (strides 4, 2, 1)")
    parser.add_argument("--until", choices=STAGES, default="locate", help="the last stage to measure")
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
        if arguments.until == "locate":
            what = f"{what}, {write_templates(templates, what)} structures of {len(SEEDS)} templates"
        table = Table(title=f"{size} voxels of {' x '.join(f'{s:g}' for s in arguments.spacing)} mm, {what}")
        for column in ("until", "encoder", "seconds of the stage", "peak, GB", "held after, GB"):
            table.add_column(column, justify="left" if column in ("until", "encoder") else "right")
        jobs = [("start", False), ("read", False)]
        jobs += [(stage, tiled) for stage in ("embed", "locate") for tiled in (False, True)]
        jobs = [job for job in jobs if STAGES.index(job[0]) <= STAGES.index(arguments.until)]
        for until, tiled in jobs:
            # A fresh process each: what was freed still counts in the peak of the process that held it.
            with fresh.Pool(1) as pool:
                job = (str(path), str(templates), arguments.localizer, until, tiled)
                (found,) = pool.map(measure, [job])
            encoder = "-" if until in ("start", "read") else "tiles" if tiled else "whole"
            row = (until, encoder, *(f"{value:.2f}" for value in found))
            print(*row, file=sys.stderr, flush=True)
            table.add_row(*row)
    Console().print(table)


if __name__ == "__main__":
    main()
