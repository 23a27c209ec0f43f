"""Several processes: their means are those of the whole batch, and two train as one does."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from medlsam.localize.pretrain.module import cli
from medlsam.training import losses
from medlsam.weights.store import load_weights
from tests.support import sync_batchnorm
from tests.support.data.pretrain_data import write_config, write_scans
from tests.support.paths import ROOT
from tests.support.sync_batchnorm import SharedBatchNorm, SharedStatistics


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scans(tmp_path_factory.mktemp("scans"))


def test_the_mean_over_processes_is_the_mean_over_all(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    values = [torch.rand(5, generator=generator), torch.rand(3, generator=generator)]
    valid = [torch.tensor([True, True, False, True, True]), torch.tensor([True, False, False])]
    whole = losses.valid_mean(torch.cat(values), torch.cat(valid))
    monkeypatch.setattr(losses, "process_count", lambda: 2)
    monkeypatch.setattr(losses, "total_over_processes", lambda count: torch.tensor(5.0))
    parts = [losses.valid_mean(v, m) for v, m in zip(values, valid, strict=True)]
    assert torch.isclose(torch.stack(parts).mean(), whole)


@pytest.fixture
def one_process_group() -> Iterator[None]:
    """A group of one, over which a sum is the value itself."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("one_process_group")
def test_shared_normalisation_is_batch_normalisation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_batchnorm, "process_count", lambda: 2)  # or it would step aside
    plain = nn.Sequential(nn.Conv3d(1, 4, 1), nn.BatchNorm3d(4)).double()
    shared = nn.Sequential(nn.Conv3d(1, 4, 1), nn.BatchNorm3d(4)).double()
    shared.load_state_dict(plain.state_dict())
    shared = SharedStatistics().apply(shared)
    assert isinstance(shared[1], SharedBatchNorm)
    values = torch.randn(3, 1, 4, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for _ in range(2):
        results = [network(values) for network in (plain, shared)]
        for result in results:
            (result**3).mean().backward()
        assert torch.allclose(*results)
    for one, other in zip(plain.parameters(), shared.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad)
    back = SharedStatistics().revert(shared)
    assert type(back[1]) is nn.BatchNorm3d
    assert back.state_dict().keys() == plain.state_dict().keys()
    for name, value in plain.state_dict().items():
        assert torch.allclose(value, back.state_dict()[name]), name


def loss_curve(folder: Path) -> list[float]:
    (found,) = folder.rglob("metrics.csv")
    with found.open() as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]


def test_two_processes_train_as_one_with_twice_the_batch(scans: Path, tmp_path: Path) -> None:
    """In float64, where only a mistake could part them; in float32 Adam makes steps of rounding errors."""
    common = ["--data.scans_per_step", "4", "--data.steps_per_epoch", "3", "--model.window_weight", "0.5"]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    options = {"max_steps": 6, "precision": "64-true", "log_every_n_steps": 1}
    cli(["fit", "--config", str(write_config(scans, tmp_path / "one", **options)), *common])
    plugins = [{"class_path": "tests.support.sync_batchnorm.SharedStatistics"}]  # torch's layers need GPUs
    path = write_config(scans, tmp_path / "two", devices=2, strategy="ddp", plugins=plugins, **options)
    command = [
        sys.executable,
        "-m",
        "medlsam.localize.pretrain.module",
        "fit",
        "--config",
        str(path),
        *common,
    ]
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300)
    one, two = loss_curve(tmp_path / "one"), loss_curve(tmp_path / "two")
    assert len(one) == 6
    assert two == pytest.approx(one, abs=1e-5)
    assert abs(one[0] - one[-1]) > 0.01  # the curve moves
    states = [
        load_weights(next((tmp_path / n).rglob("encoder.safetensors")), "localizer")[0]
        for n in ("one", "two")
    ]
    for name, value in states[0].items():
        assert torch.allclose(value, states[1][name], atol=1e-3), name
