"""Does sam-tiny's training wait for its crops, and how rough are rough masks?

    python benchmarks/segment/tiny_samples.py [--config FILE] [--number N] [--json FILE]

Draws crops as the training's configuration says, of each source by itself, without and with rough masks, and the mix;
then trains some steps. Prints crops a second of one core's own time (processor time, so that what runs beside does not
count). Of rough masks of labelled structures: how far the sides of their boxes are off from the true mask's, and Dice.
The training arrays have to be there (`fit` makes them). Takes about a minute on one core.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.common import answer, command, options, progress
from medlsam.errors import UsageError
from medlsam.runtime.device import autocast, resolve_device
from medlsam.segment.sam_tiny.train import TinyTraining
from medlsam.segment.sam_tiny.train_crop import Sample
from medlsam.segment.sam_tiny.train_data import TinyDataModule
from medlsam.segment.sam_tiny.train_samples import SampleSource
from medlsam.training.cli import TrainingCLI
from medlsam.training.losses import hard_dice

SOURCES = ("openkbp", "body", "phantom", "nameless")
STEPS = 8


def a_second(work: Callable[[], Any], number: int) -> float:
    """How often something can be done in a second of processor time; it is done once before."""
    work()
    start = time.process_time()
    for _ in range(number):
        work()
    return number / (time.process_time() - start)


def off_and_dice(sample: Sample, told_mm: float) -> tuple[list[float], float] | None:
    """Outward errors of a rough mask's box, mm, and its Dice with the mask; None where a crop cuts the mask off.

    Args:
        sample: with a rough mask.
        told_mm: the error of its box that the network is told.
    """
    places = torch.argwhere(sample["mask"] > 0.5).flip(1)
    size = len(sample["mask"])
    if not len(places) or sample["mask_prompt"].isnan().any():
        return None
    tight = torch.cat([places.min(0).values, places.max(0).values + 1])
    if (tight <= 0).any() or (tight >= size).any():
        return None
    off = (sample["box"] - tight) * torch.tensor([-1, -1, 1, 1]) * told_mm / sample["error"]
    hint = torch.nn.functional.interpolate(sample["mask_prompt"][None, None], size=size, mode="bilinear")[0]
    return off.tolist(), float(hard_dice(hint - 0.5, sample["mask"][None]))


def rates(data: TinyDataModule, number: int) -> dict[str, float]:
    """Crops a second by source."""
    cases, sampling = data.source.cases, data.sampling
    found = {}
    for share in (0.0, 1.0):
        for name in SOURCES:
            only: dict[str, Any] = {source: float(source == name) for source in SOURCES}
            chosen = replace(sampling, **only, prior=0.0, rough=share)
            source, rng = SampleSource(cases, data.net, chosen, {}), np.random.default_rng(0)
            found[f"{name}{', rough masks' if share else ''}"] = a_second(lambda: source.draw(rng), number)  # noqa: B023
            progress(name)
    rng = np.random.default_rng(0)
    found["the mix"] = a_second(lambda: data.source.draw(rng), number)
    return found


def step_rate(training: TinyTraining, data: TinyDataModule) -> float:
    """Crops a second of the training itself."""
    rng, device = np.random.default_rng(1), resolve_device("cpu")
    drawn = [data.source.draw(rng) for _ in range(data.batch_size)]
    batch = {key: torch.stack([sample[key] for sample in drawn]) for key in drawn[0]}
    optimizer = training.configure_optimizers()["optimizer"]
    training.train()

    def step() -> None:
        with torch.inference_mode(False), torch.enable_grad():
            with autocast(device, "auto"):
                loss = training.losses({k: v.clone() for k, v in batch.items()}, with_points=True)["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return data.batch_size * a_second(step, STEPS)


def main() -> None:
    parser = options(__doc__, real=False)
    parser.add_argument(
        "--config", default="configs/segmenter_tiny.yaml", help="of the training (%(default)s)"
    )
    parser.add_argument("--number", type=int, default=300, help="crops of each kind (%(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with torch.inference_mode(False):
        made = TrainingCLI(TinyTraining, TinyDataModule, ["--config", arguments.config], run=False)
    data, training = made.datamodule, made.model
    if not (data.pool / "pool.json").exists():
        raise UsageError(
            f"{data.pool}: no training arrays; run python -m medlsam.segment.sam_tiny.train fit first"
        )
    data.setup("fit")
    found = rates(data, arguments.number)
    found["training"] = step_rate(training, data)
    rates_table = Table(title="crops a second of one core", box=SIMPLE_HEAD)
    for head in ("", "crops/s"):
        rates_table.add_column(head, justify="right" if head else "left")
    for name, value in found.items():
        rates_table.add_row(name, f"{value:.0f}")
    sampling = replace(
        data.sampling, phantom=0.0, nameless=0.0, prior=0.0, rough=1.0, empty=0.0, intensity=False
    )
    source, rng = SampleSource(data.source.cases, data.net, sampling, {}), np.random.default_rng(2)
    measured = [off_and_dice(source.draw(rng), sampling.rough_error_mm) for _ in range(2 * arguments.number)]
    off = np.array([o for one in measured if one for o in one[0]])
    dice = np.array([one[1] for one in measured if one])
    rough = Table(title=f"{len(dice)} rough masks of labelled structures", box=SIMPLE_HEAD)
    for head in ("", "10 %", "50 %", "90 %", "mean"):
        rough.add_column(head, justify="right" if head else "left")
    for name, values in (("sides outward, mm", off), ("sides off, mm", np.abs(off)), ("Dice", dice)):
        quantiles = np.quantile(values, (0.1, 0.5, 0.9))
        rough.add_row(name, *(f"{v:.2f}" for v in (*quantiles, values.mean())))
    document = {"crops_a_second": found, "sides_off_mm": off.tolist(), "dice": dice.tolist()}
    answer([rates_table, rough], document, arguments.json)


if __name__ == "__main__":
    command(main)
