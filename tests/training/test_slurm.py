"""Jobs on a SLURM cluster: requeued between two steps, they end where an unbroken one ends."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

from medlsam.localize.pretrain.module import MedLAMPretraining, cli
from tests.support.data.pretrain_data import assert_same_end, checkpointed, write_config, write_scans

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
