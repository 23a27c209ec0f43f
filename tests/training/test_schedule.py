"""The learning rate in exact numbers: trainings of the past are repeated only by the same ones."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from medlsam.training import schedule as schedules
from medlsam.training.schedule import warmup_cosine


def rates(steps: int, *arguments: int, **options: float) -> list[float]:
    """Learning rate of each step, with a peak of 2e-3."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2e-3)
    schedule = warmup_cosine(optimizer, *arguments, **options)["lr_scheduler"]
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule["scheduler"].step()
    assert schedule["interval"] == "step"
    return found


def test_warm_up_then_cosine_to_zero() -> None:
    expected = [2e-3 * (step + 1) / 4 for step in range(4)]
    expected += [2e-3 * (0.5 * (1 + math.cos(math.pi * (step - 4) / 6))) for step in range(4, 11)]
    found = rates(13, 4, 10)
    assert found[:11] == expected
    assert found == [
        *(0.0005, 0.001, 0.0015, 0.002, 0.002, 0.001866025403784439, 0.0015, 0.001),
        *(0.0005000000000000002, 0.0001339745962155613, 0.0, 0.0, 0.0),
    ]


def test_the_floor_of_sam_tiny() -> None:
    expected = [2e-3 * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / 8))) for step in range(9)]
    assert rates(12, 0, 8, floor=0.01) == [*expected, *[2e-3 * 0.01] * 3]


def test_a_cosine_on_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps count in the warm-up only; a minute later the cosine of two minutes is half done."""
    clock = iter([100.0, 100.0, 160.0, 220.0, 300.0, 400.0])
    # The module's own clock: the event loop of another test's cluster may read the process's.
    monkeypatch.setattr(schedules, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    assert rates(4, 1, 1000, minutes=2.0) == pytest.approx([2e-3, 1e-3, 0.0, 0.0])


def test_a_resumed_clock_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(schedules, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def fresh() -> schedules.ClockedLR:
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2e-3)
        found: schedules.ClockedLR = warmup_cosine(optimizer, 1, 1000, minutes=2.0)["lr_scheduler"][
            "scheduler"
        ]
        return found

    def step(schedule: schedules.ClockedLR) -> float:
        schedule.optimizer.step()
        schedule.step()
        return float(schedule.optimizer.param_groups[0]["lr"])

    killed = fresh()
    now[0] = 140.0
    step(killed)
    state = killed.state_dict()
    assert state["seconds"] == 40.0
    now[0] = 9000.0  # another machine, another day
    resumed = fresh()
    resumed.load_state_dict(state)
    now[0] = 9020.0
    assert resumed.seconds == 60.0
    assert step(resumed) == pytest.approx(1e-3)
