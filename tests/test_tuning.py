"""The parts of fine-tuning: 2D components, jitter, embeddings and targets, training, judging."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medlsam.errors import MedlsamError, TemplateError, UsageError
from medlsam.geometry import Grid
from medlsam.segment import tune_train
from medlsam.segment.preprocess import restore
from medlsam.segment.prompts import SlicePrompt
from medlsam.segment.registry import SEGMENTERS
from medlsam.segment.sam import SamSlices, build_network
from medlsam.segment.segmenters import load_segmenter
from medlsam.segment.tiny import TinySegmenter
from medlsam.segment.tiny_crops import frame_around, paste
from medlsam.segment.tiny_net import TinySam
from medlsam.segment.tune_cache import EmbeddedScan, embed_cases
from medlsam.segment.tune_crops import CropTuning
from medlsam.segment.tune_judge import compare, judge
from medlsam.segment.tune_options import TuneOptions
from medlsam.segment.tune_protocol import Drawn, Tuning, jittered
from medlsam.segment.tune_scans import Component, LabelledScan, components, find_labelled
from medlsam.segment.tune_slices import SliceTuning
from medlsam.segment.tune_train import select_epochs, train
from medlsam.segment.volume_segmenter import MaskBlock
from medlsam.segment.whole_slices import WholeSliceSegmenter
from medlsam.volume import Volume
from tests.tuning_data import SMALL, scan, small_sam, write_case, write_cases

CPU = torch.device("cpu")
RNG = np.random.default_rng


def quiet(text: str) -> None:
    del text


@pytest.fixture
def tiny() -> CropTuning:
    torch.manual_seed(0)
    return CropTuning(TinySegmenter(TinySam(SMALL)))


@pytest.fixture
def sam() -> SliceTuning:
    return SliceTuning(SamSlices(small_sam(), SEGMENTERS["sam_vit_b"], CPU))


class InMemory:
    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        self.tensors = tensors

    def row(self, name: str, index: int) -> torch.Tensor:
        return self.tensors[name][index]


def batch_of(tuning: Tuning, own: LabelledScan, indices: list[int]) -> Drawn:
    """The samples with their exact boxes."""
    stored = InMemory(tuning.embed(own, components(own), 1, 0.0, RNG(0)))
    drawn = [tuning.draw(stored, index, 0.0, None) for index in indices]
    return {key: torch.stack([sample[key] for sample in drawn]) for key in drawn[0]}


# components


def labelled(labels: np.ndarray[Any, Any], names: dict[int, str]) -> LabelledScan:
    depth, height, width = labels.shape
    grid = Grid((depth, height, width), (1.0, 1.0, 1.0))
    return LabelledScan("a", "a", Volume(labels.astype(np.int16), grid), Volume(labels, grid), names)


def test_components_are_numbered_by_size_and_small_ones_left_out() -> None:
    labels = np.zeros((2, 20, 20), np.uint8)
    labels[1, 2:5, 3:7] = 1  # 12 pixels
    labels[1, 10:15, 10:15] = 1  # 25 pixels
    labels[1, 18, 0:9] = 1  # 9 pixels: too small
    labels[0, 5:10, 5:10] = 2
    own = labelled(labels, {1: "spot"})
    large, small = components(own)
    assert (large.number, large.box_xyxy) == (0, (9.5, 9.5, 14.5, 14.5))
    assert (small.number, small.box_xyxy) == (1, (2.5, 1.5, 6.5, 4.5))
    assert np.array_equal(
        large.mask((20, 20)) | small.mask((20, 20)), (labels[1] == 1) & (np.arange(20) < 18)[:, None]
    )
    assert [part.structure for part in components(replace(own, names={2: "block"}))] == ["block"]


def test_parts_that_touch_at_a_corner_are_one() -> None:
    labels = np.zeros((1, 12, 12), np.uint8)
    labels[0, 1:4, 1:4] = labels[0, 4:8, 4:8] = 1
    own = labelled(labels, {1: "spot"})
    assert [part.box_xyxy for part in components(own)] == [(0.5, 0.5, 7.5, 7.5)]


def test_slices_are_taken_evenly() -> None:
    assert [part.z for part in components(scan(0))] == [1, 2, 3]
    assert [part.z for part in components(scan(0), slices=2)] == [1, 3]


@given(st.integers(0, 10_000), st.floats(0, 30), st.integers(1, 30), st.integers(1, 30))
def test_a_jittered_box_stays_in_the_slice_and_keeps_half_of_itself(
    seed: int, jitter: float, width: int, height: int
) -> None:
    box = np.array([2.5, -0.5, 2.5 + width, -0.5 + height])
    moved = np.array(jittered(box.tolist(), (40, 40), jitter, RNG(seed)))
    assert (moved >= -0.5).all() and (moved <= 39.5).all()  # noqa: PT018 - one box
    assert (np.abs(moved - box) <= jitter + 1e-9).all()
    assert (moved[2:] - moved[:2] >= np.array([width, height]) / 2 - 1e-9).all()


def test_jitter_moves_all_corners() -> None:
    moved = np.array([jittered((10, 10, 30, 30), (40, 40), 5, RNG(seed)) for seed in range(200)])
    offset = moved - [10, 10, 30, 30]
    assert (offset.min(axis=0) < -4).all()
    assert (offset.max(axis=0) > 4).all()


def test_scans_are_found_with_their_patients(tmp_path: Path) -> None:
    write_cases(tmp_path / "a", [1, 2])
    write_cases(tmp_path / "b", [3])
    found = find_labelled([tmp_path / "a", tmp_path / "b"], patients={"egg_1": "x", "egg_3": "x"})
    assert {case.name: case.patient for case in found} == {"egg_1": "x", "egg_2": "egg_2", "egg_3": "x"}
    assert [c.name for c in find_labelled([tmp_path / "a"], cases=["egg_2"])] == ["egg_2"]
    assert found[0].read().image.array.shape == (5, 28, 36)


@pytest.mark.realdata
def test_a_real_sarcoma_has_one_prompt_a_slice(real_ct: Path) -> None:
    (found,) = find_labelled([real_ct / "lesions"], cases=["sts_002"])
    own = found.read()
    levels = np.flatnonzero(own.labels.array.any(axis=(1, 2)))
    parts = components(own)
    assert {part.structure for part in parts} == {"tumour"}
    assert {part.z for part in parts} <= set(levels.tolist())
    assert len({part.z for part in parts}) > 10


@pytest.mark.parametrize(
    ("given_", "text"),
    [
        ({"cases": ["eg_2"]}, "cases: there is no labelled scan 'eg_2' .did you mean 'egg_2'"),
        ({"organs": ["eg"]}, "organs: no scan has 'eg' .did you mean 'egg'"),
        ({"patients": {"other": "x"}}, "names none of the labelled scans"),
        ({"cases": []}, "the list is empty"),
    ],
)
def test_names_that_are_not_there(tmp_path: Path, given_: dict[str, Any], text: str) -> None:
    write_cases(tmp_path, [1, 2])
    with pytest.raises(UsageError, match=text):
        find_labelled([tmp_path], **given_)


def test_two_scans_of_one_name(tmp_path: Path) -> None:
    write_cases(tmp_path / "a", [1])
    write_cases(tmp_path / "b", [1])
    with pytest.raises(TemplateError, match="have one name, egg_1"):
        find_labelled([tmp_path / "a", tmp_path / "b"])


# embeddings and targets


def test_crops_show_their_jittered_boxes_and_targets(tiny: CropTuning) -> None:
    own = scan(3)
    parts = components(own)
    made = tiny.embed(own, parts, 5, 5.0, RNG(0))
    boxes = made["box"].reshape(len(parts), 5, 4)
    assert (made["box"] >= 0).all()
    assert (made["box"] <= SMALL.size).all()
    assert (boxes[:, 1:] - boxes[:, :1]).abs().amax(dim=(1, 2)).min() > 0.3  # other views, other boxes
    # with the exact box the covered pixels make up the component's area
    side = max(SMALL.zoom * (parts[0].pixels.shape[0] * 1.5), SMALL.min_side_mm)
    pixel = (side / SMALL.size) ** 2
    area = made["target"][0].float().sum().item() / 255 * pixel
    assert area == pytest.approx(parts[0].pixels.sum() * 1.5**2, rel=0.05)
    assert made["embedding.0"].dtype == torch.float16
    assert made["embedding.0"].shape == (15, SMALL.dim, SMALL.size // 8, SMALL.size // 8)


def test_a_view_is_drawn_with_its_own_box(tiny: CropTuning) -> None:
    own = scan(3)
    made = tiny.embed(own, components(own), 4, 5.0, RNG(0))
    stored, rng = InMemory(made), RNG(1)
    seen = set()
    for _ in range(40):
        drawn = tiny.draw(stored, 1, 5.0, rng)
        rows = [r for r in range(4, 8) if torch.equal(drawn["box"], made["box"][r])]
        assert any(torch.equal(drawn["embedding.0"], made["embedding.0"][r].float()) for r in rows)
        seen.update(rows)
    assert seen == {4, 5, 6, 7}
    assert torch.equal(tiny.draw(stored, 1, 5.0, None)["box"], made["box"][4])


def test_cached_crops_decode_as_the_segmenter_does(tiny: CropTuning) -> None:
    """The decoder on the cached crop gives the mask that the segmenter writes for the same box."""
    own = scan(3)
    part = components(own)[1]
    block = tiny.segmenter.segment(own.image, {"egg": [SlicePrompt(part.z, part.box_xyxy, error_mm=0.0)]})[
        "egg"
    ]
    logits, _ = tiny.decode(tiny.trainable(), batch_of(tiny, own, [1]))
    (z, y, x), (_, y1, x1) = block.origin_zyx, block.end_zyx
    frame = frame_around(part.box_xyxy, (1.5, 1.5), SMALL.zoom, SMALL.min_side_mm)
    expected = paste(logits.detach(), frame, (x, y), (y1 - y, x1 - x))[0].sigmoid()
    assert z == part.z
    np.testing.assert_allclose(block.probability[0], expected, atol=0.01)  # embeddings are kept in float16


@pytest.mark.parametrize("name", ["sam_vit_b", "medsam_vit_b"])
def test_slice_targets_fill_their_boxes(name: str) -> None:
    """Box and target go through the same scaling: longest side, or both sides."""
    tuning = SliceTuning(SamSlices(small_sam(), SEGMENTERS[name], CPU))
    batch = batch_of(tuning, scan(5), [0])
    rows, columns = torch.nonzero(batch["target"][0] > 0.5, as_tuple=True)
    found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_allclose(batch["box"][0] / 4, found, atol=1.5)


def test_slice_decoding_is_the_models(sam: SliceTuning) -> None:
    own = scan(5)
    part = components(own)[0]
    batch = batch_of(sam, own, [0])
    logits, quality = sam.decode(sam.trainable(), batch)
    shape_hw = own.image.array.shape[1:]
    expected = sam.model.decode(batch["embedding"], [part.box_xyxy], shape_hw)
    torch.testing.assert_close(restore(logits, shape_hw, sam.spec), expected, atol=1e-4, rtol=1e-4)
    assert quality.shape == (1,)


def test_each_slice_has_one_embedding(sam: SliceTuning) -> None:
    own = scan(5)
    parts = components(own)
    twice = [*parts, Component("egg", parts[0].z, 1, (1, 1), np.ones((4, 4), bool))]
    made = sam.embed(own, twice, 4, 5.0, RNG(0))
    assert made["embedding"].shape == (3, 256, 64, 64)
    assert made["level"].tolist() == [0, 1, 2, 0]
    moved = {tuple(sam.draw(InMemory(made), 0, 5.0, RNG(k))["box"].tolist()) for k in range(5)}
    assert len(moved) == 5  # the box is jittered at each draw


def test_embeddings_are_kept_until_something_changes(tiny: CropTuning, tmp_path: Path) -> None:
    calls = []

    class Counting(CropTuning):
        def embed(self, own: LabelledScan, *args: Any) -> dict[str, torch.Tensor]:
            calls.append(own.name)
            return super().embed(own, *args)

    tuning = Counting(tiny.segmenter)
    folder, data = tmp_path / "cache", write_cases(tmp_path / "data", [1, 2])

    def embedded(signature: str = "s", **changed: Any) -> list[EmbeddedScan]:
        found = find_labelled([data])
        return embed_cases(tuning, signature, found, folder, TuneOptions(**changed), quiet)

    first = embedded()
    again = embedded()
    assert calls == ["egg_1", "egg_2"]
    assert torch.equal(first[0].stored.row("box", 3), again[0].stored.row("box", 3))
    write_case(data, "egg_2", 2, radius=5)  # a corrected mask
    embedded()
    assert calls[2:] == ["egg_2"]
    embedded(signature="other weights")
    embedded(jitter=2.0)
    assert calls[3:] == ["egg_1", "egg_2"] * 2
    for file in folder.iterdir():
        file.write_bytes(b"cut off")
    embedded()
    assert calls[7:] == ["egg_1", "egg_2"]


def test_a_scan_with_specks_only_is_named(tiny: CropTuning, tmp_path: Path) -> None:
    write_case(tmp_path, "egg_1", 1, radius=1)
    with pytest.raises(TemplateError, match="labels.nii.gz: no part of egg is large enough"):
        embed_cases(tiny, "s", find_labelled([tmp_path]), tmp_path, TuneOptions(), quiet)


# training


@pytest.fixture
def embed(tmp_path: Path) -> Callable[..., list[EmbeddedScan]]:
    data = write_cases(tmp_path / "data", [1, 2, 3])

    def made(tuning: Tuning, slices: int = 0) -> list[EmbeddedScan]:
        options = TuneOptions(views=2, slices=slices)
        return embed_cases(tuning, "s", find_labelled([data]), tmp_path / "cache", options, quiet)

    return made


def test_the_decoder_learns_and_nothing_else_does(tiny: CropTuning, embed: Any) -> None:
    scans = embed(tiny)
    trained = train(tiny, scans, 10, TuneOptions(learning_rate=1e-2, batch_size=1), CPU, scans)
    start, end = (np.mean(list(found.values())) for found in (trained.curve[0], trained.curve[-1]))
    assert len(trained.curve) == 11
    assert end > start + 0.5
    assert end > 0.8
    before, after = tiny.segmenter.net.state_dict(), trained.module.state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed
    assert all(key.startswith("decoder.") for key in changed)


def test_training_is_repeatable(tiny: CropTuning, embed: Any) -> None:
    scans, options = embed(tiny), TuneOptions(learning_rate=1e-3)
    first, second = (train(tiny, scans, 1, options, CPU).module.state_dict() for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_only_the_mask_decoder_of_a_sam_learns(sam: SliceTuning, embed: Any) -> None:
    trained = train(sam, embed(sam, slices=1)[:2], 1, TuneOptions(), CPU)
    before, after = sam.model.network.state_dict(), trained.module.state_dict()
    changed = {key for key in after if not torch.equal(before[key], after[key])}
    assert changed
    assert all(key.startswith("mask_decoder.") for key in changed)


def test_a_training_that_diverges_is_an_error(tiny: CropTuning, embed: Any) -> None:
    with pytest.raises(MedlsamError, match="diverged at learning_rate 1e"):
        train(tiny, embed(tiny), 4, TuneOptions(learning_rate=1e37), CPU)


def fake_training(curves: dict[str, list[float]], seen: list[set[str]]) -> Any:
    """In place of ``train``: each left-out patient's Dice is given."""

    def made(tuning: Any, scans: Any, epochs: int, options: Any, device: Any, validate_on: Any = ()) -> Any:
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
    found = select_epochs(None, scans_of("aabc"), TuneOptions(epochs=2), CPU, quiet)  # type: ignore[arg-type]
    assert seen == [{"a"}, {"b"}, {"c"}]
    assert found.epochs == 2  # 0.7 on average; after 1 epoch 0.667, though "a" was best there
    assert found.patients["a"] == (0.5, 0.6)
    assert found.curve == pytest.approx((0.5, 2 / 3, 0.7))


def test_no_epoch_is_better_than_the_original(monkeypatch: pytest.MonkeyPatch) -> None:
    curves = {p: [0.5, 0.4, 0.45] for p in "abc"}
    monkeypatch.setattr(tune_train, "train", fake_training(curves, []))
    found = select_epochs(None, scans_of("abc"), TuneOptions(epochs=2), CPU, quiet)  # type: ignore[arg-type]
    assert found.epochs == 0


def test_patients_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[str]] = []
    monkeypatch.setattr(tune_train, "train", fake_training({p: [0.1, 0.2] for p in "abcde"}, seen))
    select_epochs(None, scans_of("abcde"), TuneOptions(epochs=1, folds=2), CPU, quiet)  # type: ignore[arg-type]
    assert seen == [{"a", "b", "c"}, {"d", "e"}]
    with pytest.raises(UsageError, match="needs two patients"):
        select_epochs(None, scans_of("aa"), TuneOptions(), CPU, quiet)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"epochs": 1.5}, {"jitter": -1.0}, {"folds": 1}, {"learning_rate": 0.0}, {"views": True}],
)
def test_options_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        TuneOptions(**wrong)


# judging


class Perfect:
    """Answers with the label, less what is asked to be wrong."""

    def __init__(self, own: LabelledScan, drop: int | None = None) -> None:
        self.own, self.drop = own, drop

    def segment(self, volume: Volume, prompts: Any, stopwatch: Any = None) -> dict[str, MaskBlock]:
        probability = (self.own.labels.array == 1).astype(np.float32)
        if self.drop is not None:
            probability[self.drop] = 0
        return {name: MaskBlock((0, 0, 0), probability) for name in prompts}


def test_judging_counts_voxels_and_components() -> None:
    own = scan(2)
    right = judge(Perfect(own), [own])  # type: ignore[arg-type]
    wrong = judge(Perfect(own, drop=2), [own])  # type: ignore[arg-type]
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
    tuning = SliceTuning(SamSlices(small_sam(), SEGMENTERS[name], CPU))
    tuning.check_name(Path(f"{good}.safetensors"))
    for wrong in (f"{bad}.safetensors", f"{good}.pth"):
        with pytest.raises(UsageError, match=f"must begin with it.* {name}-tuned.safetensors"):
            tuning.check_name(Path(wrong))


@pytest.mark.slow
def test_a_tuned_vit_b_is_loaded_by_its_name(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_network("vit_b")
    tuning = SliceTuning(SamSlices(network, SEGMENTERS["medsam_vit_b"], CPU))
    module = tuning.trainable()
    with torch.no_grad():
        module.mask_decoder.iou_token.weight += 1  # type: ignore[union-attr, operator]
    path = tmp_path / "medsam_vit_b-tuned.safetensors"
    tuning.save(module, path)
    loaded = load_segmenter(path, "cpu")
    assert isinstance(loaded, WholeSliceSegmenter)
    assert loaded.spec.name == "medsam_vit_b"
    state, before = loaded.model.network.state_dict(), network.state_dict()  # type: ignore[attr-defined]
    changed = [key for key in state if not torch.equal(state[key], before[key])]
    assert changed == ["mask_decoder.iou_token.weight"]
