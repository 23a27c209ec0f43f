"""From an nnU-Net dataset to patches: the plan, the arrays, the folds and what is drawn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from medlsam.errors import DatasetError, GeometryError, UsageError
from medlsam.geometry import Grid
from medlsam.io.labelled_scans import find_templates
from medlsam.io.write import write_volume
from medlsam.lesion.inception.augment import augment
from medlsam.lesion.inception.data import LesionDataModule
from medlsam.lesion.inception.folds import main as folds_main
from medlsam.lesion.inception.folds import make_folds, read_folds
from medlsam.lesion.inception.patches import Onwards, Patches, cut
from medlsam.lesion.inception.plan import ScanPlan, plan_dataset
from medlsam.lesion.inception.prepare import PreparedCase, prepare_cases
from medlsam.volume import LabelMap
from medlsam.volume.resample import resample
from tests.support.data.lesion_data import GRID, blobs, write_blobs

PATCH = (8, 16, 16)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blobs(tmp_path_factory.mktemp("data") / "Dataset001_blobs", 2)


@pytest.fixture(scope="module")
def prepared(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[ScanPlan, list[PreparedCase]]:
    cases, names = find_templates(dataset)
    plan = plan_dataset(cases, names, PATCH)
    return plan, prepare_cases(cases, names, plan, tmp_path_factory.mktemp("prepared"))


def test_the_plan_is_read_off_the_lesions(dataset: Path) -> None:
    cases, names = find_templates(dataset)
    plan = plan_dataset(cases, names, PATCH)
    assert plan.spacing_xyz == GRID.spacing_xyz
    assert plan.names == ((1, "liver cyst"), (2, "kidney stone"))
    inside = np.concatenate([image.array[labels.array > 0] for image, labels in map(blobs, (0, 1))])
    np.testing.assert_allclose(plan.hu_range, np.percentile(inside, (0.5, 99.5)), rtol=1e-6)
    assert plan.mean == pytest.approx(inside.mean(), rel=1e-5)
    assert ScanPlan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


def test_arrays_are_canonical_and_keep_what_is_labelled(
    prepared: tuple[ScanPlan, list[PreparedCase]],
) -> None:
    plan, (first, _) = prepared
    image, labels = blobs(0)
    # The grid runs along -x and -y of LPS.
    np.testing.assert_array_equal(first.labels(), labels.array[:, ::-1, ::-1])
    np.testing.assert_array_equal(first.image(), image.array[:, ::-1, ::-1])
    for value, places in first.places().items():
        assert (first.labels()[tuple(places.T)] == value).all()
        assert len(places) == (labels.array == value).sum()
    assert abs(plan.standardised(first.image())[first.labels() > 0].mean()) < 0.5


def test_arrays_are_written_once_and_again_when_a_label_map_changes(dataset: Path, tmp_path: Path) -> None:
    own = write_blobs(tmp_path / "own", 2)
    cases, names = find_templates(own)
    plan = plan_dataset(cases, names, PATCH)
    written: list[str] = []
    prepare_cases(cases, names, plan, tmp_path / "arrays", written.append)
    prepare_cases(cases, names, plan, tmp_path / "arrays", written.append)
    assert written == ["case0", "case1"]
    labels = blobs(1)[1]
    write_volume(LabelMap(np.roll(labels.array, 1, 2), labels.grid), own / "labelsTr" / "case1.nii.gz")
    prepare_cases(cases, names, plan, tmp_path / "arrays", written.append)
    assert written == ["case0", "case1", "case1"]


def test_a_scan_without_lesions_is_taken_and_wrong_ones_are_named(tmp_path: Path) -> None:
    own = write_blobs(tmp_path / "own", 2)
    labels = blobs(1)[1]
    file = own / "labelsTr" / "case1.nii.gz"
    write_volume(LabelMap(labels.array * 0, labels.grid), file)
    cases, names = find_templates(own)
    plan = plan_dataset(cases, names, PATCH)
    empty = prepare_cases(cases, names, plan, tmp_path / "arrays")[1]
    assert empty.places() == {}
    patches = Patches([empty], plan, foreground=1.0, changed=False)
    assert patches[0]["labels"].max() == 0
    write_volume(LabelMap(labels.array * 5, labels.grid), file)
    with pytest.raises(DatasetError, match=r"case1\.nii\.gz: value 5 has no name .*1 liver cyst"):
        plan_dataset(cases, names, PATCH)
    write_volume(
        LabelMap(labels.array[1:], type(GRID)((23, 40, 40), GRID.spacing_xyz, GRID.origin_xyz)), file
    )
    with pytest.raises(GeometryError, match="another grid than its scan"):
        plan_dataset(cases, names, PATCH)


def test_patches_hold_what_lies_at_their_place(prepared: tuple[ScanPlan, list[PreparedCase]]) -> None:
    _, (first, _) = prepared
    hu, labels = cut(first, np.array([-2, 30, 5]), PATCH)
    assert (hu[:2] == -1024).all()
    assert (hu[:, 10:] == -1024).all()
    np.testing.assert_array_equal(hu[2:, :10], first.image()[:6, 30:, 5:21])
    np.testing.assert_array_equal(labels[2:, :10], first.labels()[:6, 30:, 5:21])


def test_foreground_is_oversampled(prepared: tuple[ScanPlan, list[PreparedCase]]) -> None:
    plan, cases = prepared
    always = Patches(cases, plan, foreground=1.0, changed=False)
    middles = [int(always[n]["labels"][4, 8, 8]) for n in range(40)]
    assert set(middles) == {1, 2}
    never = Patches(cases, plan, foreground=0.0, changed=False)
    assert np.mean([int(never[n]["labels"][4, 8, 8]) > 0 for n in range(40)]) < 0.3


def test_a_patch_is_its_number_whoever_draws_it(prepared: tuple[ScanPlan, list[PreparedCase]]) -> None:
    plan, cases = prepared
    patches = Patches(cases, plan, seed=3)
    alone = list(DataLoader(patches, 2, sampler=Onwards(lambda: 0, 8)))
    two = list(DataLoader(patches, 2, sampler=Onwards(lambda: 0, 8), num_workers=2))
    assert all((a["image"] == b["image"]).all() for a, b in zip(alone, two, strict=True))
    assert not (alone[0]["image"] == alone[1]["image"]).all()
    reached = iter((0, 3))
    onwards = Onwards(lambda: next(reached), 3)
    assert [*onwards, *onwards] == [0, 1, 2, 3, 4, 5]


def test_augmentation_moves_scan_and_labels_alike() -> None:
    """A bright block and its mask stay together, mirrored, turned and stretched."""
    image, labels = np.zeros((12, 20, 28), np.float32), np.zeros((12, 20, 28), np.uint8)
    image[3:8, 4:12, 6:20], labels[3:8, 4:12, 6:20] = 10, 1
    agreements, shapes = [], set()
    for seed in range(30):
        hu, classes = augment(image, labels, np.random.default_rng(seed))
        bright: NDArray[np.bool_] = hu > (hu.max() + hu.min()) / 2
        agreements.append((bright & (classes > 0)).sum() * 2 / (bright.sum() + (classes > 0).sum()))
        shapes.add(classes.sum())
        assert hu.dtype == np.float32
        assert hu.shape == image.shape == classes.shape
    assert min(agreements) > 0.85
    assert len(shapes) > 3


def test_folds_keep_patients_together(caplog: pytest.LogCaptureFixture) -> None:
    cases = [f"c{n}" for n in range(11)]
    patients = {f"c{n}": str(n // 2) for n in range(10)}
    folds = make_folds(cases, 5, patients)
    assert sorted(name for fold in folds for name in fold["val"]) == sorted(cases)
    for fold in folds:
        sides = [{patients.get(name, name) for name in fold[side]} for side in ("train", "val")]
        assert not sides[0] & sides[1]
        assert sorted(fold["train"] + fold["val"]) == sorted(cases)
    assert max(len(fold["val"]) for fold in folds) <= 3
    with pytest.raises(UsageError, match="5 folds of 1 patients"):
        make_folds(cases, 5, dict.fromkeys(cases, "same"))
    assert "no patient is named for 1 scans (c10, ...)" in caplog.text
    with pytest.raises(UsageError, match=r"for none of the 11 scans \(c0, ...\), but for c0_0000"):
        make_folds(cases, 5, {f"{name}_0000": "1" for name in cases})


def test_folds_as_a_file(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whose = tmp_path / "cases.json"
    whose.write_text(json.dumps({"cases": {"case0": {"patient": 7}, "case1": {"patient": 8}}}))
    folds_main([str(dataset), str(tmp_path / "splits.json"), "--folds", "2", "--patients", str(whose)])
    assert "1, 1 scans to validate" in capsys.readouterr().out
    folds = read_folds(tmp_path / "splits.json", ["case0", "case1"])
    assert {fold["val"][0] for fold in folds} == {"case0", "case1"}
    with pytest.raises(UsageError, match="case case1 is not in the dataset, or kept for its test"):
        read_folds(tmp_path / "splits.json", ["case0"])
    for content, said in (
        ([{"train": ["case0"], "val": []}], "fold 0 has 1 cases to train on and 0 to validate"),
        (
            [{"train": ["case0", "case1"], "val": ["case1"]}],
            "fold 0 trains on case1 and validates on it",
        ),
    ):
        (tmp_path / "odd.json").write_text(json.dumps(content))
        with pytest.raises(UsageError, match=said):
            read_folds(tmp_path / "odd.json", ["case0", "case1"])
    (tmp_path / "wrong.json").write_text('{"train": []}')
    with pytest.raises(UsageError, match="expected a list of"):
        read_folds(tmp_path / "wrong.json", ["case0"])


def test_a_fold_that_is_not_there_is_refused_before_anything_is_written(
    dataset: Path, tmp_path: Path
) -> None:
    data = LesionDataModule(str(dataset), str(tmp_path / "arrays"), fold=2, folds=2, patch=PATCH)
    with pytest.raises(UsageError, match="fold 2: there are 2 folds"):
        data.prepare_data()
    assert not (tmp_path / "arrays").exists()


def test_a_class_that_no_scan_to_train_on_has_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = write_blobs(tmp_path / "own", 2, {"background": 0, "cyst": 1, "stone": 2, "node": 3})
    data = LesionDataModule(str(own), str(tmp_path / "arrays"), fold=None, patch=PATCH)
    data.prepare_data()
    data.setup("fit")
    assert data.class_names == ["cyst", "stone", "node"]
    assert "no scan to train on has node: the network will never find it" in caplog.text
    assert data.train_patches[0]["labels"].max() <= 2


def test_the_label_ignore_is_no_lesion(tmp_path: Path) -> None:
    own = write_blobs(tmp_path / "own", 2, {"background": 0, "cyst": 1, "ignore": 2})
    data = LesionDataModule(str(own), str(tmp_path / "arrays"), fold=None, patch=PATCH)
    with pytest.raises(DatasetError, match=r"dataset\.json: label 2 is 'ignore', which is not supported"):
        print(data.class_names)


def test_a_patch_larger_than_a_scan_holds_it_whole(tmp_path: Path) -> None:
    own = write_blobs(tmp_path / "own", 1)
    cases, names = find_templates(own)
    plan = plan_dataset(cases, names, (32, 48, 64))
    (case,) = prepare_cases(cases, names, plan, tmp_path / "arrays")
    patch = Patches([case], plan, foreground=0.0, changed=False)[5]
    inside = patch["labels"][4:28, 4:44, 12:52].numpy()
    np.testing.assert_array_equal(inside, case.labels())
    assert int((patch["labels"] > 0).sum()) == int((case.labels() > 0).sum())
    air = float(plan.standardised(-1024))
    assert float(patch["image"][0, :4].max()) == pytest.approx(air)


def test_scans_of_another_spacing_come_to_the_median(tmp_path: Path) -> None:
    """Anisotropic scans: volumes of lesions stay what they are in ml."""
    own = write_blobs(tmp_path / "own", 3)
    fine = Grid((36, 40, 50), (1.6, 2.0, 2.0), GRID.origin_xyz, GRID.direction)
    image, labels = blobs(2)
    write_volume(resample(image, fine), own / "imagesTr" / "case2_0000.nii.gz")
    write_volume(resample(labels, fine), own / "labelsTr" / "case2.nii.gz")
    cases, names = find_templates(own)
    plan = plan_dataset(cases, names, PATCH)
    assert plan.spacing_xyz == GRID.spacing_xyz
    case = prepare_cases(cases, names, plan, tmp_path / "arrays")[2]
    assert case.labels().shape == labels.array.shape
    assert (case.labels() == 1).sum() == pytest.approx((labels.array == 1).sum(), rel=0.15)


def test_scans_of_the_sources_test_are_in_no_fold(tmp_path: Path) -> None:
    own = write_blobs(tmp_path / "own", 3)
    (own / "splits.json").write_text(json.dumps({"train": ["case0", "case2"], "test": ["case1"]}))
    folds_main([str(own), str(tmp_path / "f.json"), "--folds", "2", "--test-scans", str(tmp_path / "test")])
    folds = json.loads((tmp_path / "f.json").read_text())
    assert sorted(fold["val"][0] for fold in folds) == ["case0", "case2"]
    for part, name in (("images", "case1_0000.nii.gz"), ("labels", "case1.nii.gz")):
        (link,) = (tmp_path / "test" / part).iterdir()
        assert link.resolve() == (own / f"{part}Tr" / name).resolve()
    data = LesionDataModule(str(own), str(tmp_path / "arrays"), fold=None, patch=PATCH)
    data.prepare_data()
    data.setup("fit")
    assert [case.name for case in data.train_patches.cases] == ["case0", "case2"]
    assert not list((tmp_path / "arrays").glob("case1*"))
    (own / "splits.json").write_text(json.dumps({"test": ["case0", "case1", "case2"]}))
    with pytest.raises(UsageError, match="all 3 scans are for the test"):
        data.prepare_data()
    (own / "splits.json").unlink()
    with pytest.raises(SystemExit, match="no scan of this dataset is kept for a test"):
        folds_main(
            [str(own), str(tmp_path / "f.json"), "--folds", "2", "--test-scans", str(tmp_path / "none")]
        )
    assert not (tmp_path / "none").exists()
