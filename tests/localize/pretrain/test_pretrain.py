"""Training itself: a dry run through the command, one batch learnt by heart, and a resumed run that ends the same."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml

from medlsam.errors import UsageError
from medlsam.localize.network.encoder import EncoderConfig
from medlsam.localize.pretrain import validation as watch
from medlsam.localize.pretrain.datamodule import CTPool, PoolSource
from medlsam.localize.pretrain.feed import PretrainFeed
from medlsam.localize.pretrain.module import MedLAMPretraining, cli
from medlsam.pool import PackedScan, build_pool
from medlsam.weights.store import load_weights
from tests.support.pretrain_data import write_config, write_scans


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
    pool = PretrainFeed(
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


def test_labels_are_never_read(scans: Path, tmp_path: Path) -> None:
    """Scans beside label files that nobody could read: the pool takes the scans and never opens the others."""
    for scan in sorted(scans.glob("*.nii.gz")):
        case = tmp_path / "pool" / scan.name.split(".")[0]
        case.mkdir(parents=True)
        shutil.copy(scan, case / "image.nii.gz")
        (case / "labels.nii.gz").write_bytes(b"not a label map")
        (case / "labels.json").write_text("not JSON")
    cache = tmp_path / "cache"
    source = PoolSource(str(tmp_path / "pool"))
    pool = CTPool([source], str(cache), validation_scans=0, spacing_mm=6.0, num_workers=0)
    pool.prepare_data()
    assert len(list(cache.iterdir())) == 2


def test_the_pool_splits_by_seed_and_keeps_phantoms_in_training(scans: Path, tmp_path: Path) -> None:
    pool = CTPool(
        [PoolSource(str(scans))],
        str(tmp_path),
        phantoms=2,
        phantom_weight=0.5,
        validation_scans=1,
        spacing_mm=8.0,
    )
    pool.prepare_data()
    pool.setup()
    assert len(pool.training) == 3
    assert len(pool.held_out) == 1
    assert not set(pool.training) & set(pool.held_out)
    assert sum("phantom" in path.name for path in pool.training) == 2
    assert all(PackedScan(path).grid.spacing_xyz == (8.0, 8.0, 8.0) for path in pool.training + pool.held_out)
    assert pool.weights.sum() == pytest.approx(0.5 + 0.5)


def test_a_built_pool_is_a_source(scans: Path, tmp_path: Path) -> None:
    """Read where it lies, by case or name, the same HU as a raw source gives; other spacings are refused."""
    built = build_pool([scans], tmp_path / "built", spacing_mm=6.0, jobs=0)
    path = write_config(scans, tmp_path, fast_dev_run=1)
    content = yaml.safe_load(path.read_text())
    content["data"]["sources"] = [{"path": str(built.folder)}]
    path.write_text(yaml.safe_dump(content))
    assert cli(["fit", "--config", str(path)]).trainer.global_step == 1
    assert not (tmp_path / "cache").exists()

    def members(source: PoolSource, spacing_mm: float = 6.0) -> list[Path]:
        pool = CTPool([source], str(tmp_path / "cache"), validation_scans=0, spacing_mm=spacing_mm)
        pool.prepare_data()
        pool.setup()
        return pool.training

    grouped = PretrainFeed(
        sources=[PoolSource(str(built.folder))], cache=str(tmp_path / "cache"), spacing_mm=6.0
    )
    grouped.setup()
    assert {group[0] for group in grouped.groups if group} == {scans.name}
    (one,) = members(PoolSource(str(built.folder), exclude=["scan2"]))
    assert [one] == members(PoolSource(str(built.folder), exclude=[built.rows[1].name]))
    (raw,) = members(PoolSource(str(scans), exclude=["scan2"]))
    assert one.read_bytes() == raw.read_bytes()
    with pytest.raises(UsageError, match="of 6 mm, the encoder of 4 mm; build one with --spacing 4"):
        members(PoolSource(str(built.folder)), 4.0)


def test_an_empty_pool_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="empty"):
        CTPool([], str(tmp_path))


def test_what_training_is_watched_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """Structures that two phantoms have in common are looked up both ways; the encoder stays in training."""

    class Place:
        """Says of every place where it was in its own scan, and one millimetre beside that when asked again."""

        def read(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return points, torch.zeros(len(points), 1)

        def refine(self, features: torch.Tensor, points: torch.Tensor, *how: float) -> SimpleNamespace:
            return SimpleNamespace(points=(points + torch.tensor([1.0, 0.0, 0.0]))[:, None])

    encoder = MedLAMPretraining(EncoderConfig(6.0, (8, 8, 8, 8), (1, 1, 1, 1), 8, 8)).encoder.train()
    modes = []
    monkeypatch.setattr(
        watch, "embed", lambda image, network, device: modes.append(network.training) or Place()
    )
    monkeypatch.setattr(watch, "coarse_consensus", lambda scan, latents: (latents, None))
    points = torch.rand(6, 3, generator=torch.Generator().manual_seed(0)) * 100
    marked: Any = [
        (None, {"liver": points, "spleen": points}),
        (None, {"liver": points + torch.tensor([3.0, 4.0, 0.0]), "bladder": points}),
    ]
    coarse, fine = watch.landmark_errors(marked, encoder, torch.device("cpu"))
    assert coarse == pytest.approx(5.0, abs=1e-4)
    assert fine == pytest.approx((20**0.5 + 32**0.5) / 2, abs=1e-4)
    assert modes == [False, False]
    assert encoder.training


def test_phantoms_to_watch_by_are_marked() -> None:
    """With six extreme points of every structure, within the scan."""
    ((image, marks),) = watch.marked_phantoms(1, 12.0)
    low, high = image.grid.box.min, image.grid.box.max
    assert len(marks) > 10
    for name, points in marks.items():
        assert points.shape == (6, 3), name
        assert (points >= torch.tensor(low) - 6).all(), name
        assert (points <= torch.tensor(high) + 6).all(), name
