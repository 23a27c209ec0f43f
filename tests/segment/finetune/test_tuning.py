"""The parts of fine-tuning: training, choosing, judging, files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medlsam.errors import MedlsamError, UsageError
from medlsam.segment.finetune import train as tune_train
from medlsam.segment.finetune.crop_tuner import CropTuner
from medlsam.segment.finetune.embeddings import EmbeddedScan, embed_cases
from medlsam.segment.finetune.labelled import LabelledScan, find_labelled
from medlsam.segment.finetune.options import FinetuneOptions
from medlsam.segment.finetune.protocol import Tuner
from medlsam.segment.finetune.score import compare, score
from medlsam.segment.finetune.slice_tuner import SliceTuner
from medlsam.segment.finetune.train import select_epochs, train
from medlsam.segment.label_map import MaskBlock
from medlsam.segment.load import load_segmenter
from medlsam.segment.registry import SEGMENTERS
from medlsam.segment.sam.model import SamSlices, build_network
from medlsam.segment.sam.segmenter import WholeSliceSegmenter
from medlsam.volume import Image
from tests.support.data.tuning_data import (
    quiet,
    scan,
    small_sam,
    write_cases,
)

CPU = torch.device("cpu")


# training


@pytest.fixture
def embed(tmp_path: Path) -> Callable[..., list[EmbeddedScan]]:
    data = write_cases(tmp_path / "data", [1, 2, 3])

    def made(tuner: Tuner, slices: int = 0) -> list[EmbeddedScan]:
        options = FinetuneOptions(views=2, slices=slices)
        return embed_cases(tuner, "s", find_labelled([data]), tmp_path / "cache", options, quiet)

    return made


def test_the_decoder_learns_and_nothing_else_does(tiny: CropTuner, embed: Any) -> None:
    scans = embed(tiny)
    trained = train(tiny, scans, 10, FinetuneOptions(learning_rate=1e-2, batch_size=1), CPU, scans)
    start, end = (np.mean(list(found.values())) for found in (trained.curve[0], trained.curve[-1]))
    assert len(trained.curve) == 11
    assert end > start + 0.5
    assert end > 0.8
    before, after = tiny.segmenter.net.state_dict(), trained.module.state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed
    assert all(key.startswith("decoder.") for key in changed)


def test_training_is_repeatable(tiny: CropTuner, embed: Any) -> None:
    scans, options = embed(tiny), FinetuneOptions(learning_rate=1e-3)
    first, second = (train(tiny, scans, 1, options, CPU).module.state_dict() for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_only_the_mask_decoder_of_a_sam_learns(sam: SliceTuner, embed: Any) -> None:
    trained = train(sam, embed(sam, slices=1)[:2], 1, FinetuneOptions(), CPU)
    before, after = sam.model.network.state_dict(), trained.module.state_dict()
    changed = {key for key in after if not torch.equal(before[key], after[key])}
    assert changed
    assert all(key.startswith("mask_decoder.") for key in changed)


def test_a_training_that_diverges_is_an_error(tiny: CropTuner, embed: Any) -> None:
    with pytest.raises(MedlsamError, match="diverged at learning_rate 1e"):
        train(tiny, embed(tiny), 4, FinetuneOptions(learning_rate=1e37), CPU)


def fake_training(curves: dict[str, list[float]], seen: list[set[str]]) -> Any:
    """In place of ``train``: each left-out patient's Dice is given."""

    def made(tuner: Any, scans: Any, epochs: int, options: Any, device: Any, validate_on: Any = ()) -> Any:
        left_out = {own.patient for own in validate_on}
        assert not left_out & {own.patient for own in scans}
        seen.append(left_out)
        steps = [{p: curves[p][epoch] for p in left_out} for epoch in range(epochs + 1)]
        return type("Trained", (), {"curve": steps})

    return made


def scans_of(patients: str) -> list[EmbeddedScan]:
    return [EmbeddedScan(f"{p}{k}", p, (), None) for k, p in enumerate(patients)]  # type: ignore[arg-type]


def test_one_number_of_epochs_for_all_patients(monkeypatch: pytest.MonkeyPatch) -> None:
    curves = {"a": [0.5, 0.9, 0.6], "b": [0.5, 0.5, 0.7], "c": [0.5, 0.6, 0.8]}
    seen: list[set[str]] = []
    monkeypatch.setattr(tune_train, "train", fake_training(curves, seen))
    found = select_epochs(None, scans_of("aabc"), FinetuneOptions(epochs=2), CPU, quiet)  # type: ignore[arg-type]
    assert seen == [{"a"}, {"b"}, {"c"}]
    assert found.epochs == 2  # 0.7 on average; after 1 epoch 0.667, though "a" was best there
    assert found.patients["a"] == (0.5, 0.6)
    assert found.curve == pytest.approx((0.5, 2 / 3, 0.7))


def test_no_epoch_is_better_than_the_original(monkeypatch: pytest.MonkeyPatch) -> None:
    curves = {p: [0.5, 0.4, 0.45] for p in "abc"}
    monkeypatch.setattr(tune_train, "train", fake_training(curves, []))
    found = select_epochs(None, scans_of("abc"), FinetuneOptions(epochs=2), CPU, quiet)  # type: ignore[arg-type]
    assert found.epochs == 0


def test_patients_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[str]] = []
    monkeypatch.setattr(tune_train, "train", fake_training({p: [0.1, 0.2] for p in "abcde"}, seen))
    select_epochs(None, scans_of("abcde"), FinetuneOptions(epochs=1, folds=2), CPU, quiet)  # type: ignore[arg-type]
    assert seen == [{"a", "b", "c"}, {"d", "e"}]
    with pytest.raises(UsageError, match="needs two patients"):
        select_epochs(None, scans_of("aa"), FinetuneOptions(), CPU, quiet)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"epochs": 1.5}, {"jitter": -1.0}, {"folds": 1}, {"learning_rate": 0.0}, {"views": True}],
)
def test_options_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        FinetuneOptions(**wrong)


# judging


class Perfect:
    """Answers with the label, less what is asked to be wrong."""

    def __init__(self, own: LabelledScan, drop: int | None = None) -> None:
        self.own, self.drop = own, drop

    def segment(self, volume: Image, prompts: Any, stopwatch: Any = None) -> dict[str, MaskBlock]:
        probability = (self.own.labels.array == 1).astype(np.float32)
        if self.drop is not None:
            probability[self.drop] = 0
        return {name: MaskBlock((0, 0, 0), probability) for name in prompts}


def test_judging_counts_voxels_and_components() -> None:
    own = scan(2)
    right = score(Perfect(own), [own])  # type: ignore[arg-type]
    wrong = score(Perfect(own, drop=2), [own])  # type: ignore[arg-type]
    assert right.mean == 1.0
    assert right.components == {("egg_2", "egg", z, 0): 1.0 for z in (1, 2, 3)}
    assert wrong.components["egg_2", "egg", 2, 0] == 0.0  # a failure counts 0
    assert wrong.patients["p"] == pytest.approx(0.8)  # two of three equal slices: 2*2/(2+3)


def test_wilcoxon_of_six_patients_who_all_gain() -> None:
    before = {f"p{k}": 0.5 for k in range(6)}
    found = compare(before, {key: 0.6 + 0.01 * k for k, key in enumerate(before)})
    assert found.n == 6
    assert found.p == pytest.approx(2 / 2**6)  # two-sided, exact
    assert found.before == pytest.approx((0.5, 0.0, 0.5))
    assert found.to_dict()["after"]["mean"] == 0.625
    assert compare(before, before).p == 1.0


# files


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("sam_vit_b", "sam_vit_b-lesions", "lesions"),
        ("sam_vit_b", "SAM-ViT-B", "sam_vit_b-against-medsam"),
        ("medsam_vit_b", "medsam_vit_b_2", "sam_vit_b_2"),
    ],
)
def test_a_sams_file_name_tells_which_it_is(name: str, good: str, bad: str) -> None:
    tuner = SliceTuner(SamSlices(small_sam(), SEGMENTERS[name], CPU))
    tuner.check_name(Path(f"{good}.safetensors"))
    for wrong in (f"{bad}.safetensors", f"{good}.pth"):
        with pytest.raises(UsageError, match=f"must begin with it.* {name}-tuned.safetensors"):
            tuner.check_name(Path(wrong))


@pytest.mark.slow
def test_a_tuned_vit_b_is_loaded_by_its_name(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_network("vit_b")
    tuner = SliceTuner(SamSlices(network, SEGMENTERS["medsam_vit_b"], CPU))
    module = tuner.trainable()
    with torch.no_grad():
        module.mask_decoder.iou_token.weight += 1  # type: ignore[union-attr, operator]
    path = tmp_path / "medsam_vit_b-tuned.safetensors"
    tuner.save(module, path)
    loaded = load_segmenter(path, "cpu")
    assert isinstance(loaded, WholeSliceSegmenter)
    assert loaded.spec.name == "medsam_vit_b"
    state, before = loaded.model.network.state_dict(), network.state_dict()  # type: ignore[attr-defined]
    changed = [key for key in state if not torch.equal(state[key], before[key])]
    assert changed == ["mask_decoder.iou_token.weight"]
