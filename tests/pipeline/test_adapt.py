"""Adapting the decoder to templates: judged on held-out templates, stored in the file, used where it helps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import medlsam
import medlsam.pipeline.adapt as adapting
from medlsam.errors import TemplateError, UsageError
from medlsam.localize.templates.adapted import AdaptedDecoder, AdaptedScore
from medlsam.localize.templates.template_set import TemplateSet
from medlsam.phantoms.dataset import write_phantoms
from medlsam.pipeline.model import MedLSAM
from medlsam.runtime.atomic_files import write_json
from medlsam.segment.adapted import PerStructure, decoder_differences, with_differences
from medlsam.segment.label_map import MaskBlock
from medlsam.segment.sam_tiny.segmenter import TinySegmenter
from tests.support.fakes.stub_model import stub_model

STRUCTURES = ("liver", "spleen")
GAIN, LOSS = AdaptedScore(3, 0.8, 0.9), AdaptedScore(3, 0.9, 0.8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("templates")
    for name in ("imagesTr", "labelsTr"):
        (target / name).mkdir()
    people = [
        (seed, target / f"imagesTr/p{seed}_0000.nii.gz", target / f"labelsTr/p{seed}.nii.gz")
        for seed in (101, 102, 103)
    ]
    write_phantoms(people, STRUCTURES, (330.0, 560.0), (5.0, 5.0, 5.0))
    labels = {"background": 0} | {name: value for value, name in enumerate(STRUCTURES, start=1)}
    write_json(target / "dataset.json", {"labels": labels, "file_ending": ".nii.gz"})
    return target


@pytest.fixture(scope="module")
def model() -> MedLSAM:
    return medlsam.load(device="cpu")


@pytest.fixture(scope="module")
def adapted(model: MedLSAM, folder: Path) -> Iterator[TemplateSet]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            adapting, "TUNING", replace(adapting.TUNING, epochs=1, slices=3, views=2, learning_rate=1e-3)
        )
        yield model.templates(folder, adapt=True)


def moved_decoder(segmenter: Any) -> TinySegmenter:
    """A decoder that draws otherwise, whatever a short training came to."""
    moved = with_differences(segmenter, {})
    for parameter in moved.net.decoder.parameters():
        parameter.data += 0.01
    return moved


def with_scores(templates: TemplateSet, segmenter: Any, **scores: AdaptedScore) -> TemplateSet:
    differences = decoder_differences(segmenter, moved_decoder(segmenter).net)
    return replace(templates, adapted=AdaptedDecoder(segmenter.signature, scores, differences))


def test_every_structure_is_judged_on_templates_that_taught_nothing(
    adapted: TemplateSet, model: MedLSAM
) -> None:
    assert adapted.adapted is not None
    assert adapted.adapted.signature == model.segmenter.signature
    assert set(adapted.adapted.scores) == set(STRUCTURES)
    for score in adapted.adapted.scores.values():
        assert 2 <= score.n <= 3
        assert 0 < score.before <= 1
        assert 0 < score.after <= 1
        assert score.before != score.after, "the decoder has learned something, for better or worse"


def test_the_file_keeps_the_decoder(adapted: TemplateSet, model: MedLSAM, tmp_path: Path) -> None:
    whole = with_scores(adapted, model.segmenter, liver=GAIN, spleen=LOSS)
    assert whole.adapted is not None
    assert whole.adapted.differences
    whole.save(tmp_path / "a.medlsam")
    back = TemplateSet.load(tmp_path / "a.medlsam").adapted
    assert back is not None
    assert whole.adapted is not None
    assert back.about() == whole.adapted.about()
    assert back.structures == ("liver",)
    for name, array in whole.adapted.differences.items():
        np.testing.assert_array_equal(back.differences[name], array)
    selected, rest = whole.select(["spleen"]).adapted, whole.without(whole.template_names[0]).adapted
    assert selected is not None
    assert set(selected.scores) == {"spleen"}
    assert rest is None


def test_only_structures_that_gain_are_drawn_anew(adapted: TemplateSet, model: MedLSAM, folder: Path) -> None:
    image = medlsam.read_image(next((folder / "imagesTr").iterdir()))
    plain = model.segment(image, replace(adapted, adapted=None))
    found = model.segment(image, with_scores(adapted, model.segmenter, liver=GAIN, spleen=LOSS))
    liver, spleen = (adapted.values[name] for name in STRUCTURES)
    assert (found.labels.array == liver).sum() != (plain.labels.array == liver).sum()
    alone = model.segment(image, replace(adapted, adapted=None), organs=["spleen"])
    own = model.segment(
        image, with_scores(adapted, model.segmenter, liver=GAIN, spleen=LOSS), organs=["spleen"]
    )
    np.testing.assert_array_equal(own.labels.array == spleen, alone.labels.array == spleen)
    assert found.warnings == plain.warnings


def test_a_decoder_of_other_weights_is_not_used_and_told(
    adapted: TemplateSet, model: MedLSAM, folder: Path
) -> None:
    image = medlsam.read_image(next((folder / "imagesTr").iterdir()))
    assert adapted.adapted is not None
    other = replace(adapted, adapted=replace(adapted.adapted, signature="0" * 64, scores={"liver": GAIN}))
    plain = model.segment(image, replace(adapted, adapted=None))
    found = model.segment(image, other)
    np.testing.assert_array_equal(found.labels.array, plain.labels.array)
    assert any("other segmenter weights" in warning for warning in found.warnings)
    unused = replace(adapted, adapted=replace(adapted.adapted, signature="0" * 64, scores={"liver": LOSS}))
    assert model.segment(image, unused).warnings == plain.warnings, (
        "nothing was to be used, so nothing is told"
    )


def test_differences_add_up(model: MedLSAM) -> None:
    assert isinstance(model.segmenter, TinySegmenter)
    moved = moved_decoder(model.segmenter)
    assert moved.net is not model.segmenter.net
    again = with_differences(model.segmenter, decoder_differences(model.segmenter, moved.net))
    for new, want in zip(again.net.decoder.parameters(), moved.net.decoder.parameters(), strict=True):
        np.testing.assert_allclose(new.numpy(), want.numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("key", "goes_to"),
    [("rib", "adapted"), ("rib/part 1", "adapted"), ("rib/oracle_box/+1", "adapted"), ("rib_2", "usual")],
)
def test_parts_and_fronts_go_with_their_structure(key: str, goes_to: str) -> None:
    asked: list[str] = []

    class Fake:
        def __init__(self, name: str) -> None:
            self.name, self.spec, self.signature = name, None, name

        def segment(self, volume: Any, prompts: Any, **_: Any) -> dict[str, MaskBlock]:
            asked.append(self.name)
            return dict.fromkeys(prompts, MaskBlock((0, 0, 0), np.zeros((1, 1, 1), np.float32)))

    both: Any = PerStructure(Fake("usual"), Fake("adapted"), ["rib"])  # type: ignore[arg-type]
    assert list(both.segment(None, {key: []})) == [key]
    assert asked == [goes_to]
    assert (both.signature, both.spec) == ("usual", None)


def test_what_cannot_be_adapted_is_refused(
    model: MedLSAM, folder: Path, adapted: TemplateSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapted.save(tmp_path / "a.medlsam")
    with pytest.raises(UsageError, match="build it again from its templates folder"):
        model.templates(tmp_path / "a.medlsam", adapt=True)
    one = [adapted.template_names[0]]
    with pytest.raises(TemplateError, match="needs two templates with label maps"):
        model.templates(folder, cases=one, adapt=True)
    stub = stub_model(monkeypatch)
    with pytest.raises(UsageError, match="only sam-tiny can be adapted"):
        adapting.adapt(stub, folder, adapted)


def test_a_structure_that_was_not_tried_or_does_not_gain_stays() -> None:
    scores = {"liver": LOSS, "spleen": AdaptedScore(0, 0.0, 0.0), "heart": GAIN}
    assert AdaptedDecoder("x", scores, {}).structures == ("heart",)
