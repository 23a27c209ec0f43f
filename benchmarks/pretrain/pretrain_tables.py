"""What ``benchmarks/pretrain/pretrain_rate.py`` measured and works out, as tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

#: Scans of the paper, and the next order of magnitude.
SIZES = (14_012, 100_000)
#: Median, lowest and highest of repeats.
Spread = tuple[float, float, float]


@dataclass(frozen=True)
class Rates:
    """What was measured; a draw is a pair of views.

    Attributes:
        plan_s: seconds of one processor to plan a draw, (median, lowest, highest).
        block_mb: megabytes that a draw reads from the pool and takes to the device, a byte a voxel.
        render_s: seconds of this device to draw and augment a draw.
        step_s: seconds of this device of a training step for each of its draws, without drawing.
        flop: floating-point operations of a training step for each of its draws.
        scan_mb: megabytes of a stored scan at most, a byte a voxel and air included: (mean, standard deviation).
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
        f"a stored scan at most, MB (mean, n = {rates.scans})",
        f"{rates.scan_mb[0]:.1f} ±{rates.scan_mb[1]:.1f}",
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
    row("read from the pool and copied to each GPU, MB/s", eaten[None] * rates.block_mb)
    return table
