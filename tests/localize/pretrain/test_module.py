"""Training itself: a dry run through the command, one batch learnt by heart, and a resumed run that ends the same."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
import torch
import torch.distributed as dist
import yaml

from medlsam.errors import UsageError, WeightsError
from medlsam.localize.network.encoder import EncoderConfig
from medlsam.localize.network.read_encoder import read_encoder
from medlsam.localize.pretrain.datamodule import PretrainDataModule
from medlsam.localize.pretrain.module import MedLAMPretraining, cli
from medlsam.localize.pretrain.pool_source import PoolSource
from medlsam.weights.fetch import resolve
from medlsam.weights.store import load_weights
from tests.support.data.pretrain_data import assert_same_end, checkpointed, write_config, write_scans
from tests.support.paths import ROOT


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scans(tmp_path_factory.mktemp("scans"))


def test_fast_dev_run(scans: Path, tmp_path: Path) -> None:
    path = write_config(scans, tmp_path, fast_dev_run=1)
    done = cli(["fit", "--config", str(path)])
    assert done.trainer.global_step == 1
    assert done.trainer.precision in ("32-true", "bf16-mixed")
    assert {"val/loss", "val/offset_error_mm"} <= set(done.trainer.callback_metrics)


class KilledError(RuntimeError):
    """Stands for the power going off between two epochs."""


def test_resume_ends_where_an_unbroken_run_ends(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(name: str, *arguments: str, kill_after: int | None = None) -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        path = write_config(scans, folder, max_steps=4, precision="32-true")
        start = MedLAMPretraining.on_train_epoch_start

        def dies(self: MedLAMPretraining) -> None:
            if kill_after is not None and self.current_epoch >= kill_after:
                raise KilledError
            start(self)

        with monkeypatch.context() as patch:
            patch.setattr(MedLAMPretraining, "on_train_epoch_start", dies)
            cli(["fit", "--config", str(path), *arguments])
        return max(folder.rglob("encoder.safetensors"), key=lambda found: found.stat().st_mtime)

    whole, _ = load_weights(run("whole"), "localizer")
    with pytest.raises(KilledError):
        run("broken", kill_after=1)
    checkpoint = tmp_path / "broken" / "checkpoints" / "last.ckpt"
    assert torch.load(checkpoint, weights_only=False)["global_step"] == 2
    resumed, _ = load_weights(run("broken", "--ckpt_path", str(checkpoint)), "localizer")
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


def test_one_batch_is_learnt_by_heart(scans: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    pool = PretrainDataModule(
        sources=[PoolSource(str(scans))],
        cache=str(tmp_path / "cache"),
        validation_scans=1,
        scans_per_step=1,
        steps_per_epoch=1,
        spacing_mm=6.0,
        num_workers=0,
    )
    pool.views = type(pool.views)(shape_zyx=(32, 32, 32), points=32, negatives=32, shift_mm=30.0)
    pool.prepare_data()
    pool.setup()
    small = EncoderConfig(6.0, (8, 8, 8, 8), (1, 1, 1, 1), 8, 8)
    batch = next(iter(pool.train_dataloader())).render(small)
    model = MedLAMPretraining(small, validation_phantoms=0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        parts = model.losses(batch)
        parts["loss"].backward()
        optimizer.step()
        losses.append({name: value.item() for name, value in parts.items()})
    assert losses[-1]["rdr"] < 0.3 * losses[0]["rdr"]
    assert losses[-1]["mss2"] < 0.5 * losses[0]["mss2"]


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


@pytest.fixture
def _process_group_of_its_own() -> Iterator[None]:
    """Takes back what training by DDP leaves in this process: its group, and its port among the variables."""
    with mock.patch.dict(os.environ):
        yield
    if dist.is_initialized():
        dist.destroy_process_group()


@pytest.mark.usefixtures("_process_group_of_its_own")
def test_the_configuration_for_eight_gpus(tmp_path: Path) -> None:
    """Its network, losses, averaging and logs run as configured, on phantoms and one CPU, in smaller views."""
    folder = str(tmp_path)
    here = {
        "trainer.accelerator": "cpu",
        "trainer.devices": "1",
        "trainer.plugins": "[{class_path: tests.support.sync_batchnorm.SharedStatistics}]",
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


def test_training_goes_on_from_known_weights(tmp_path: Path) -> None:
    """The weights say how the network is built; none of them is changed before the first step."""
    module = MedLAMPretraining(initial_weights="medlam-tiny")
    shipped = read_encoder(resolve("medlam-tiny", "localizer"))
    assert module.encoder.config == shipped.config
    for (name, own), other in zip(
        module.encoder.state_dict().items(), shipped.state_dict().values(), strict=True
    ):
        assert torch.equal(own, other), name
    file = tmp_path / "mine.safetensors"
    module.export(file)
    assert MedLAMPretraining(shipped.config, initial_weights=str(file)).encoder.config == shipped.config


def test_another_network_than_that_of_the_weights_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"model\.encoder\.feature_dim is 16, but medlam-tiny was trained with 32"
    ):
        MedLAMPretraining(EncoderConfig(vote_error=True, feature_dim=16), initial_weights="medlam-tiny")
    with pytest.raises(WeightsError, match="nowhere"):
        MedLAMPretraining(initial_weights="nowhere")


def test_the_configuration_that_adapts_reads_and_runs(scans: Path, tmp_path: Path) -> None:
    """One step of it on two small scans: nothing in it needs what is not in the repository."""
    cli(
        [
            "fit",
            f"--config={ROOT / 'configs' / 'pretrain_adapt.yaml'}",
            f"--data.sources=[{{path: {scans}}}]",
            f"--data.cache={tmp_path / 'cache'}",
            "--data.phantoms=1",
            "--data.num_workers=0",
            "--data.scans_per_step=1",
            "--data.views.shape_zyx=[32, 32, 32]",
            "--trainer.max_steps=1",
            "--trainer.accelerator=cpu",
            f"--trainer.default_root_dir={tmp_path}",
            f"--trainer.logger.save_dir={tmp_path}",
        ]
    )
    assert list(tmp_path.rglob("encoder.safetensors"))
