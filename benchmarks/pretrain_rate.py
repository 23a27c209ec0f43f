"""How fast pretraining can be fed, what its network eats, and what a large run comes to.

    python benchmarks/pretrain_rate.py                                            # configs/pretrain_base_ddp.yaml
    python benchmarks/pretrain_rate.py --config configs/pretrain_tiny.yaml

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
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813 - the usual name
import torch
from numpy.typing import NDArray
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common import CT, answer, command, evenly, progress
from medlsam.device import resolve_device
from medlsam.inputs import find_cases
from medlsam.localize.draws import PairDraws, gather
from medlsam.localize.feed import PretrainFeed
from medlsam.localize.pretrain import MedLAMPretraining, PretrainCLI
from medlsam.localize.views import AIR_HU
from medlsam.volume import Volume, lps_grid, read_volume, resample, write_volume

#: Scans of the paper, and the next order of magnitude.
SIZES = (14_012, 100_000)
#: Folders of real scans whose headers are read; one of the last is resampled.
SCANS = ("openkbp/imagesTr", "body")
#: Median, lowest and highest of repeats.
Spread = tuple[float, float, float]


@dataclass(frozen=True)
class Rates:
    """What was measured; a draw is a pair of views.

    Attributes:
        plan_s: seconds of one processor to plan a draw, (median, lowest, highest).
        block_mb: megabytes that a draw takes to the device.
        render_s: seconds of this device to draw and augment a draw.
        step_s: seconds of this device of a training step for each of its draws, without drawing.
        flop: floating-point operations of a training step for each of its draws.
        scan_mb: megabytes of a stored scan, (mean, standard deviation).
        scans: real scans that this is from.
        prepare_s: seconds of one processor to read and resample a scan of full resolution, (median, lowest, highest).
        voxels: of that scan, millions.
    """

    plan_s: Spread
    block_mb: float
    render_s: Spread
    step_s: Spread
    flop: float
    scan_mb: tuple[float, float]
    scans: int
    prepare_s: Spread
    voxels: float


@dataclass(frozen=True)
class Assumed:
    """What was not measured.

    Attributes:
        draws: how often each scan is drawn in a run.
        peak: dense bfloat16 operations a second of the GPU by its data sheet.
        fractions: of the peak that training sustains, low to high.
        price: of a GPU hour, USD, with its share of the machine.
        gpus: in the run.
    """

    draws: int
    peak: float
    fractions: list[float]
    price: float
    gpus: int


def repeated(work: Callable[[int], object], times: int, clock: Callable[[], float]) -> Spread:
    """(median, lowest, highest) seconds of some work, after one round that does not count."""
    work(0)
    seconds = []
    for i in range(times):
        start = clock()
        work(i + 1)
        seconds.append(clock() - start)
    return float(np.median(seconds)), min(seconds), max(seconds)


def built(config: Path, folder: str, phantoms: int) -> tuple[MedLAMPretraining, PretrainFeed]:
    """The module and the feed as configured, on a pool of phantoms."""
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
    made = PretrainCLI(MedLAMPretraining, PretrainFeed, run=False, args=arguments)
    assert isinstance(made.model, MedLAMPretraining)
    assert isinstance(made.datamodule, PretrainFeed)
    return made.model, made.datamodule


def clock_of(device: torch.device) -> Callable[[], float]:
    """Seconds of a device: of a GPU by the clock once it is idle, of the processors what they worked."""

    def idle() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return idle if device.type == "cuda" else time.process_time


def feeding(model: MedLAMPretraining, feed: PretrainFeed, repeats: int) -> tuple[Spread, float, Spread]:
    """Seconds of planning and of drawing a draw, and the megabytes between them."""
    draws = PairDraws(feed.training, feed.draw_weights, feed.views, feed.spacing_mm, (0,))
    count = 8
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    plan = repeated(lambda n: [draws[n * count + i] for i in range(count)], repeats, time.process_time)
    torch.set_num_threads(threads)
    batch = gather([draws[i] for i in range(count)]).to(model.device)
    render = repeated(lambda _: batch.render(model.encoder.config), repeats, clock_of(model.device))
    size = batch.values.numel() * batch.values.element_size() / count / 1e6
    return _each(plan, count), size, _each(render, count)


def eating(model: MedLAMPretraining, feed: PretrainFeed, count: int, repeats: int) -> tuple[Spread, float]:
    """Seconds of a training step and its floating-point operations, for each of its draws."""
    draws = PairDraws(feed.training, feed.draw_weights, feed.views, feed.spacing_mm, (1,))
    batch = gather([draws[i] for i in range(count)]).to(model.device).render(model.encoder.config)
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
    """Megabytes of scans at the pool's spacing, from their headers: (mean, standard deviation), and how many."""
    sizes = []
    for path in evenly([case.path for name in SCANS for case in find_cases(ct / name)], 60):
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        sizes.append(2 * np.prod(np.array(reader.GetSize()) * reader.GetSpacing() / spacing_mm) / 1e6)
    return (float(np.mean(sizes)), float(np.std(sizes))), len(sizes)


def preparing(ct: Path, folder: str, spacing_mm: float, repeats: int) -> tuple[Spread, float]:
    """Seconds to read and resample a scan of the usual resolution, made of a real one, and its voxels, millions."""
    found = read_volume(find_cases(ct / SCANS[-1])[0].path)
    fine = resample(found, lps_grid(found.grid, (0.8, 0.8, 1.5)), fill=AIR_HU)
    path = Path(folder) / "fine.nii.gz"
    write_volume(Volume(np.rint(fine.array).astype(np.int16), fine.grid), path)

    def prepare(_: int) -> None:
        volume = read_volume(path)
        resample(volume, lps_grid(volume.grid, (spacing_mm,) * 3), fill=AIR_HU)

    return repeated(prepare, repeats, time.process_time), fine.array.size / 1e6


def _each(seconds: Spread, count: int) -> Spread:
    middle, low, high = seconds
    return middle / count, low / count, high / count


def measured(rates: Rates) -> Table:
    """What was measured, as a table."""

    def seconds(values: Spread, unit: float = 1e3) -> str:
        middle, low, high = (f"{value * unit:.4g}" for value in values)
        return f"{middle} ({low} to {high})"

    table = Table(
        "measured, median (lowest to highest)", "", title="Rates on this machine; a draw is two views"
    )
    table.add_row("plan a draw (loader process), ms of one processor", seconds(rates.plan_s))
    table.add_row("draws a second of one loader process", f"{1 / rates.plan_s[0]:.0f}")
    table.add_row("a draw on its way to the device, MB", f"{rates.block_mb:.2f}")
    table.add_row("draw and augment it on this device, ms", seconds(rates.render_s))
    table.add_row("train on it on this device, s", seconds(rates.step_s, 1))
    table.add_row("floating-point operations to train on it, GFLOP", f"{rates.flop / 1e9:.0f}")
    table.add_row(
        "this device sustains, GFLOP/s (a CPU: each processor)", f"{rates.flop / rates.step_s[0] / 1e9:.0f}"
    )
    table.add_row(
        f"a stored scan, MB (mean, n = {rates.scans})", f"{rates.scan_mb[0]:.1f} ±{rates.scan_mb[1]:.1f}"
    )
    name = f"read and resample a scan of {rates.voxels:.0f} million voxels, s of one processor"
    table.add_row(name, seconds(rates.prepare_s, 1))
    return table


def projected(rates: Rates, assumed: Assumed, batch: int) -> Table:
    """What runs come to, as a table."""
    shares = " / ".join(f"{fraction:.0%}" for fraction in assumed.fractions)
    title = (
        f"Assumed: {assumed.draws:,} draws of each scan; {assumed.gpus} GPUs of {assumed.peak / 1e12:.0f} TFLOP/s"
        f" (bfloat16, data sheet)\nthat sustain {shares} of it; {assumed.price:.2f} USD a GPU hour"
    )
    table = Table("", *(f"{size:,} scans" for size in SIZES), title=title)
    sizes = np.array(SIZES)
    draws = sizes * assumed.draws
    sustained = assumed.peak * np.array(assumed.fractions)
    hours = draws[:, None] * rates.flop / sustained / 3600
    eaten = sustained / rates.flop

    def row(name: str, values: NDArray[np.float64], form: str = ",.0f") -> None:
        """One value for each size, or for each size and fraction."""
        cells = (
            np.broadcast_to(values, (len(SIZES), values.shape[-1])) if values.ndim == 2 else values[:, None]
        )
        table.add_row(name, *(" / ".join(format(value, form) for value in line) for line in cells))

    row("stored pool, GB", sizes * rates.scan_mb[0] / 1e3)
    row("preparing it, processor hours", sizes * rates.prepare_s[0] / 3600)
    row(f"steps of {batch} draws", draws / batch)
    row("operations, EFLOP", draws * rates.flop / 1e18, ",.1f")
    row("GPU hours", hours)
    row(f"hours on {assumed.gpus} GPUs", hours / assumed.gpus, ",.1f")
    row("cost of the GPUs, USD", hours * assumed.price)
    row("draws a second that a GPU eats", eaten[None])
    row("loader processes that keep it busy", eaten[None] * rates.plan_s[0], ",.1f")
    row("read from the pool for each GPU, MB/s", eaten[None] * rates.block_mb)
    return table


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
        model, feed = built(options.config, folder, options.phantoms)
        progress("drawing phantoms")
        feed.prepare_data()
        feed.setup()
        model.to(resolve_device(options.device))
        progress("planning and drawing views")
        plan, size, render = feeding(model, feed, options.repeats)
        progress("training steps")
        step, flop = eating(model, feed, options.batch, options.repeats)
        progress("reading scans")
        scan, count = storing(options.ct, feed.spacing_mm)
        prepare, voxels = preparing(options.ct, folder, feed.spacing_mm, options.repeats)
    rates = Rates(plan, size, render, step, flop, scan, count, prepare, voxels)
    assumed = Assumed(options.draws, options.peak, options.fraction, options.price, options.gpus)
    document = {"measured": asdict(rates), "assumed": asdict(assumed), "device": str(model.device)}
    answer([measured(rates), projected(rates, assumed, feed.scans_per_step)], document, options.json)


if __name__ == "__main__":
    command(main)
