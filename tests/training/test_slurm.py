"""Pretraining on several devices and in several parts: processes, resumption and requeueing change nothing."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

from medlsam.localize.pretrain.module import MedLAMPretraining, cli
from medlsam.weights.store import load_weights
from tests.support.paths import ROOT
from tests.support.pretrain_data import write_config, write_scans

SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_JOB_NAME": "pretrain",
    "SLURM_NTASKS": "1",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
}


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scans(tmp_path_factory.mktemp("scans"))


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
    path = write_config(scans, tmp_path / "two", devices=2, strategy="ddp", **options)
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


def checkpointed(scans: Path, folder: Path, **trainer: Any) -> Path:
    """A configuration of six steps with averaged weights that keeps a checkpoint at every third."""
    folder.mkdir(exist_ok=True)
    callbacks = [
        {
            "class_path": "lightning.pytorch.callbacks.EMAWeightAveraging",
            "init_args": {"decay": 0.5, "update_starting_at_step": 1},
        },
        {
            "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
            "init_args": {
                "dirpath": str(folder / "checkpoints"),
                "filename": "{step}",
                "every_n_train_steps": 3,
                "save_top_k": -1,
            },
        },
    ]
    return write_config(scans, folder, max_steps=6, precision="32-true", callbacks=callbacks, **trainer)


def tensors(value: Any, name: str = "") -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint by their path in it."""
    if isinstance(value, torch.Tensor):
        return {name: value}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {k: v for key, inner in items for k, v in tensors(inner, f"{name}/{key}").items()}


def assert_same_end(one: Path, other: Path) -> None:
    """Weights, averaged weights and the optimizer's state are bit for bit the same."""
    ends = [tensors(torch.load(path, weights_only=False)) for path in (one, other)]
    assert ends[0].keys() == ends[1].keys()
    for part in ("/state_dict/", "/current_model_state/", "/optimizer_states/"):
        assert any(name.startswith(part) for name in ends[0]), part
    for name, value in ends[0].items():
        assert torch.equal(value, ends[1][name]), name


@pytest.mark.parametrize(
    "transforms", ["[]", '[{"class_path": "torchio.RandomNoise", "init_args": {"std": 30}}]']
)
def test_three_steps_and_three_more_are_six(transforms: str, scans: Path, tmp_path: Path) -> None:
    """Resumed in the middle of an epoch, and with another number of loader processes; also with own transforms."""
    common = ["--data.steps_per_epoch", "4", "--data.scans_per_step", "2", "--model.window_weight", "0.5"]
    common += ["--data.transforms", transforms]
    cli(["fit", "--config", str(checkpointed(scans, tmp_path / "whole")), *common])
    middle = tmp_path / "whole" / "checkpoints" / "step=3.ckpt"
    torch.manual_seed(99)  # the global generator has no say
    resumed = ["--ckpt_path", str(middle), "--data.num_workers", "1", "--seed_everything", "5"]
    cli(["fit", "--config", str(checkpointed(scans, tmp_path / "resumed")), *common, *resumed])
    last = "checkpoints/step=6.ckpt"
    assert_same_end(tmp_path / "whole" / last, tmp_path / "resumed" / last)


def fake_scontrol(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ``scontrol`` that writes down what it is asked; returns the file."""
    said = folder / "said.txt"
    program = folder / "bin" / "scontrol"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> "{said}"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    return said


def test_a_requeued_job_ends_where_an_unbroken_one_ends(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = fake_scontrol(tmp_path, monkeypatch)
    common = ["--data.steps_per_epoch", "4", "--data.scans_per_step", "2"]
    losses = MedLAMPretraining.losses
    seen: list[int] = []

    def signalled(self: MedLAMPretraining, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        if self.training:
            if seen == [0]:
                os.kill(os.getpid(), signal.SIGUSR1)  # as SLURM does, in the middle of a step
            seen.append(self.global_step)
        return losses(self, batch)

    monkeypatch.setattr(MedLAMPretraining, "losses", signalled)
    path = checkpointed(scans, tmp_path / "job")
    cli(["fit", "--config", str(path), *common])
    assert said.read_text().split() == ["requeue", "4711"]
    saved = tmp_path / "job" / "hpc_ckpt_1.ckpt"
    assert torch.load(saved, weights_only=False)["global_step"] == 2
    end = tmp_path / "job" / "checkpoints" / "step=6.ckpt"
    unbroken = end.rename(tmp_path / "unbroken.ckpt")
    seen.clear()
    cli(["fit", "--config", str(path), *common])  # the job as SLURM starts it again: the same command
    assert seen == [2, 3, 4, 5]
    assert_same_end(unbroken, end)


@pytest.mark.parametrize("inside", [True, False])
def test_slurm_is_used_where_a_job_runs(
    inside: bool, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value) if inside else monkeypatch.delenv(name, raising=False)
    made = cli(["--config", str(write_config(scans, tmp_path))], run=False)
    environment = made.trainer._accelerator_connector.cluster_environment
    assert isinstance(environment, SLURMEnvironment) == inside
    if inside:
        assert environment.auto_requeue


def test_the_configuration_for_eight_gpus(tmp_path: Path) -> None:
    """Its network, losses, averaging and logs run as configured, on phantoms and one CPU, in smaller views."""
    folder = str(tmp_path)
    here = {
        "trainer.accelerator": "cpu",
        "trainer.devices": "1",
        "trainer.precision": "32-true",
        "trainer.fast_dev_run": "1",
        "trainer.default_root_dir": folder,
        "data.sources": "[]",
        "data.phantoms": "2",
        "data.spacing_mm": "8",
        "model.encoder.spacing_mm": "8",
        "data.cache": folder,
        "data.scans_per_step": "1",
        "data.num_workers": "0",
        "data.views.shape_zyx": "[32, 32, 32]",
        "model.validation_phantoms": "0",
    }
    arguments = [part for key, value in here.items() for part in (f"--{key}", value)]
    path = ROOT / "configs" / "pretrain_base_ddp.yaml"
    done = cli(["fit", "--config", str(path), *arguments])
    assert done.trainer.global_step == 1
    content = yaml.safe_load(path.read_text())
    assert content["data"]["spacing_mm"] == content["model"]["encoder"]["spacing_mm"]
    assert content["data"]["scans_per_step"] % content["trainer"]["devices"] == 0
    assert {"train/window", "train/vote_error", "val/loss"} <= set(done.trainer.callback_metrics)
