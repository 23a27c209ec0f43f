"""What pretraining draws from: pools, raw scans and phantoms, split by the seed and shared by processes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from medlsam.errors import UsageError
from medlsam.localize.pretrain.datamodule import PretrainDataModule
from medlsam.localize.pretrain.dataset import PairDataset
from medlsam.localize.pretrain.module import cli
from medlsam.localize.pretrain.pool_source import PoolSource
from medlsam.pool import build_pool
from medlsam.pool.packed_scan import PackedScan
from tests.support.data.pretrain_data import write_config, write_scans


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scans(tmp_path_factory.mktemp("scans"))


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
    pool = PretrainDataModule([source], str(cache), validation_scans=0, spacing_mm=6.0, num_workers=0)
    pool.prepare_data()
    assert len(list(cache.iterdir())) == 2


def test_the_pool_splits_by_seed_and_keeps_phantoms_in_training(scans: Path, tmp_path: Path) -> None:
    pool = PretrainDataModule(
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
        pool = PretrainDataModule(
            [source], str(tmp_path / "cache"), validation_scans=0, spacing_mm=spacing_mm
        )
        pool.prepare_data()
        pool.setup()
        return pool.training

    grouped = PretrainDataModule(
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
        PretrainDataModule([], str(tmp_path))


def test_a_step_that_cannot_be_shared_is_told() -> None:
    data = PretrainDataModule(phantoms=1, scans_per_step=3)
    with pytest.raises(UsageError, match="multiple of 2"):
        data.check_share(2)


def test_phases_are_partners_and_unknown_names_are_told(scans: Path, tmp_path: Path) -> None:
    def data(phases: list[list[str]], exclude: list[str] | None = None) -> PretrainDataModule:
        source = PoolSource(str(scans), exclude=exclude or [], phases=phases)
        return PretrainDataModule(
            [source], str(tmp_path), phantoms=1, validation_scans=0, spacing_mm=8.0, phase_probability=0.9
        )

    pool = data([["scan2", "scan1"]])
    pool.prepare_data()
    pool.setup()
    assert pool.partners == [[1], [0], []]
    loaded = pool.train_dataloader().dataset
    assert isinstance(loaded, PairDataset)
    assert loaded.phase_probability == 0.9
    assert loaded.partners == pool.partners
    loaded[0]
    alone = data([["scan2", "scan1"]], exclude=["scan2"])
    alone.setup()
    assert alone.partners == [[], []]
    plain = data([])
    plain.setup()
    assert plain.partners == [[], [], []]
    with pytest.raises(UsageError, match="phases names scan3, but no scan"):
        data([["scan1", "scan3"]]).setup()
    with pytest.raises(UsageError, match="names scan1 twice"):
        data([["scan1"], ["scan2", "scan1"]]).setup()


def test_patients_are_drawn_equally_often(scans: Path, tmp_path: Path) -> None:
    """Two scans of one patient and one of another, beside a phantom with a share of its own."""
    folder = tmp_path / "scans"
    shutil.copytree(scans, folder)
    shutil.copy(folder / "scan1.nii.gz", folder / "scan1b.nii.gz")

    def shares(path: Path, patient: str | None) -> list[float]:
        source = PoolSource(str(path), weight=0.8, patient=patient)
        pool = PretrainDataModule(
            [source], str(tmp_path / "cache"), phantoms=1, validation_scans=0, spacing_mm=8.0, balance=0.0
        )
        pool.setup()
        return sorted(pool.sampling_weights.tolist())

    assert shares(folder, r"scan\d") == pytest.approx([0.2, 0.2, 0.2, 0.4])  # 0.2 are phantoms
    assert shares(folder, None) == pytest.approx([0.2, 0.8 / 3, 0.8 / 3, 0.8 / 3])


def test_phantoms_of_both_kinds_lie_side_by_side_in_the_cache(tmp_path: Path) -> None:
    def shard(**options: Any) -> Path:
        pool = PretrainDataModule(cache=str(tmp_path), phantoms=1, spacing_mm=16.0, **options)
        pool.prepare_data()
        pool.setup()
        return pool.training[0]

    one, each = shard(), shard(phantom_enhancement="each")
    assert one.name == "phantom-100000-16mm.ctshard"  # the name that caches have had
    assert each.name != one.name
    assert each.read_bytes() != one.read_bytes()
