"""How fast pretraining can be fed, what its network eats, and what a large run comes to.

    python benchmarks/pretrain/pretrain_rate.py                                     # configs/pretrain_base_ddp.yaml
    python benchmarks/pretrain/pretrain_rate.py --config configs/pretrain_tiny.yaml

Measured here: draws that one loader process plans a second (a draw is a pair of views), draws that this device draws
and augments, its training steps, their floating-point operations, and the size and preparation of real scans.
Assumed, and said with the table: what a GPU sustains, what it costs, and how often each scan is drawn. On a CPU seconds
are those of processors, all of them together, so that other work on the machine hardly matters. About three minutes.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813 - the usual name
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common import CT, answer, command, evenly, progress
from benchmarks.pretrain.pretrain_tables import Assumed, Rates, Spread, measured, projected
from medlsam.io.cases import find_cases
from medlsam.io.read import read_image
from medlsam.io.write import write_volume
from medlsam.localize.pretrain.datamodule import PretrainDataModule
from medlsam.localize.pretrain.dataset import PairDataset, collate
from medlsam.localize.pretrain.module import MedLAMPretraining, cli
from medlsam.runtime.device import resolve_device
from medlsam.volume import Image, lps_grid, resample
from medlsam.volume.hounsfield import AIR_HU

#: Folders of real scans whose headers are read; one of the last is resampled.
SCANS = ("openkbp/imagesTr", "body")


def repeated(work: Callable[[int], object], times: int, clock: Callable[[], float]) -> Spread:
    """(median, lowest, highest) seconds of some work, after one round that does not count."""
    work(0)
    seconds = []
    for i in range(times):
        start = clock()
        work(i + 1)
        seconds.append(clock() - start)
    return float(np.median(seconds)), min(seconds), max(seconds)


def built(config: Path, folder: str, phantoms: int) -> tuple[MedLAMPretraining, PretrainDataModule]:
    """The module and the data module as configured, on a pool of phantoms."""
    here = {
        "trainer.accelerator": "cpu",
        "trainer.devices": "1",
        "trainer.strategy": "auto",
        "trainer.precision": "32-true",
        "trainer.logger": "false",
        "data.sources": "[]",
        "data.phantoms": str(phantoms),
        "data.cache": folder,
    }
    arguments = [
        "--config",
        str(config),
        *(part for item in here.items() for part in (f"--{item[0]}", item[1])),
    ]
    made = cli(arguments, run=False)
    assert isinstance(made.model, MedLAMPretraining)
    assert isinstance(made.datamodule, PretrainDataModule)
    return made.model, made.datamodule


def clock_of(device: torch.device) -> Callable[[], float]:
    """Seconds of a device: of a GPU by the clock once it is idle, of the processors what they worked."""

    def idle() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return idle if device.type == "cuda" else time.process_time


def feeding(model: MedLAMPretraining, data: PretrainDataModule, repeats: int) -> tuple[Spread, float, Spread]:
    """Seconds of planning and of drawing a draw, and the megabytes between them."""
    draws = PairDataset(data.training, data.sampling_weights, data.views, data.spacing_mm, (0,))
    count = 8
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    plan = repeated(lambda n: [draws[n * count + i] for i in range(count)], repeats, time.process_time)
    torch.set_num_threads(threads)
    batch = collate([draws[i] for i in range(count)]).to(model.device)
    render = repeated(lambda _: batch.render(model.encoder.config), repeats, clock_of(model.device))
    size = batch.values.numel() * batch.values.element_size() / count / 1e6
    return _each(plan, count), size, _each(render, count)


def eating(
    model: MedLAMPretraining, data: PretrainDataModule, count: int, repeats: int
) -> tuple[Spread, float]:
    """Seconds of a training step and its floating-point operations, for each of its draws."""
    draws = PairDataset(data.training, data.sampling_weights, data.views, data.spacing_mm, (1,))
    batch = collate([draws[i] for i in range(count)]).to(model.device).render(model.encoder.config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    gpu = model.device.type == "cuda"

    counter = FlopCounterMode(display=False)

    def step(n: int) -> None:
        optimizer.zero_grad()
        # The round that is not timed is counted instead.
        with nullcontext() if n else counter:
            with torch.autocast(model.device.type, torch.bfloat16, enabled=gpu):
                loss = model.losses(batch)["loss"]
            loss.backward()
        optimizer.step()

    seconds = repeated(step, repeats, clock_of(model.device))
    return _each(seconds, count), float(counter.get_total_flops()) / count


def storing(ct: Path, spacing_mm: float) -> tuple[tuple[float, float], int]:
    """Megabytes of scans at the pool's spacing, from their headers: (mean, standard deviation), and how many.

    A byte a voxel; shards leave out bricks of air as well.
    """
    sizes = []
    for path in evenly([case.path for name in SCANS for case in find_cases(ct / name)], 60):
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        sizes.append(np.prod(np.array(reader.GetSize()) * reader.GetSpacing() / spacing_mm) / 1e6)
    return (float(np.mean(sizes)), float(np.std(sizes))), len(sizes)


def preparing(ct: Path, folder: str, spacing_mm: float, repeats: int) -> tuple[Spread, float]:
    """Seconds to read and resample a scan of the usual resolution, made of a real one, and its voxels, millions."""
    found = read_image(find_cases(ct / SCANS[-1])[0].path)
    fine = resample(found, lps_grid(found.grid, (0.8, 0.8, 1.5)), fill=AIR_HU)
    path = Path(folder) / "fine.nii.gz"
    write_volume(Image(np.rint(fine.array).astype(np.int16), fine.grid), path)

    def prepare(_: int) -> None:
        volume = read_image(path)
        resample(volume, lps_grid(volume.grid, (spacing_mm,) * 3), fill=AIR_HU)

    return repeated(prepare, repeats, time.process_time), fine.array.size / 1e6


def _each(seconds: Spread, count: int) -> Spread:
    middle, low, high = seconds
    return middle / count, low / count, high / count


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--config", type=Path, default=Path("configs/pretrain_base_ddp.yaml"), metavar="FILE")
    parser.add_argument("--ct", type=Path, default=CT, metavar="DIR", help="real scans (%(default)s)")
    parser.add_argument("--phantoms", type=int, default=2, help="that draws are timed on (%(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="of every measurement (%(default)s)")
    parser.add_argument("--draws", type=int, default=1000, help="of each scan in a run (%(default)s)")
    parser.add_argument(
        "--peak", type=float, default=989e12, help="operations a second (%(default)s, an H100)"
    )
    parser.add_argument(
        "--fraction", type=float, nargs="+", default=[0.05, 0.15, 0.3], help="of them sustained (%(default)s)"
    )
    parser.add_argument("--price", type=float, default=3.0, help="USD a GPU hour (%(default)s)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch", type=int, default=1, help="draws of a timed step (%(default)s)")
    parser.add_argument("--gpus", type=int, default=8, help="(%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode(False):
        model, data = built(options.config, folder, options.phantoms)
        progress("drawing phantoms")
        data.prepare_data()
        data.setup()
        model.to(resolve_device(options.device))
        progress("planning and drawing views")
        plan, size, render = feeding(model, data, options.repeats)
        progress("training steps")
        step, flop = eating(model, data, options.batch, options.repeats)
        progress("reading scans")
        scan, count = storing(options.ct, data.spacing_mm)
        prepare, voxels = preparing(options.ct, folder, data.spacing_mm, options.repeats)
    rates = Rates(plan, size, render, step, flop, scan, count, prepare, voxels)
    assumed = Assumed(options.draws, options.peak, options.fraction, options.price, options.gpus)
    document = {"measured": asdict(rates), "assumed": asdict(assumed), "device": str(model.device)}
    answer([measured(rates), projected(rates, assumed, data.scans_per_step)], document, options.json)


if __name__ == "__main__":
    command(main)
