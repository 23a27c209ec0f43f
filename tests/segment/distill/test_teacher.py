"""Whole-slice models as teachers; others are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from medlsam.errors import UsageError, WeightsError
from medlsam.segment.distill.teacher import SliceTeacher, least_iou, load_teacher
from medlsam.segment.registry import SEGMENTERS
from medlsam.segment.sam.model import SamSlices
from medlsam.segment.sam.segmenter import WholeSliceSegmenter
from tests.support.data.tuning_data import small_sam
from tests.support.fakes.fake_teacher import FakeTeacher

CPU = torch.device("cpu")


def teacher(signature: str = "a", precision: str = "auto") -> SliceTeacher:
    model = SamSlices(small_sam(), SEGMENTERS["sam_vit_b"], CPU, precision)
    return SliceTeacher(WholeSliceSegmenter(model, signature), model)


def test_a_sam_segments_all_boxes_of_a_slice() -> None:
    own, plane = teacher(), np.random.default_rng(0).normal(0, 200, (30, 40)).astype(np.int16)
    boxes = [(2.5, 3.5, 20.5, 20.5)] * 3 + [(10.0, 4.0, 30.0, 22.0)] * 3  # more than are decoded at once
    embedding = own.encode(plane)
    masks, quality = own.decode(embedding, boxes, (30, 40))
    assert masks.shape == (6, 30, 40)
    assert masks.dtype == bool
    assert quality.shape == (6,)
    assert (masks == (own.model.decode(embedding, boxes, (30, 40)) > 0).numpy()).all()
    assert quality[0] == pytest.approx(quality[2], abs=1e-5)
    assert quality[0] != pytest.approx(quality[3], abs=1e-5)


def test_the_signature_tells_weights_and_precision_apart() -> None:
    signatures = {
        teacher(*what).signature for what in (("a", "float32"), ("b", "float32"), ("a", "bfloat16"))
    }
    assert len(signatures) == 3


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sam-tiny", "encodes crops, not whole slices"),
        ("sam_vit_x", "'sam_vit_x' is unknown; give one of sam_vit_b"),
    ],
)
def test_others_are_no_teachers(name: str, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        load_teacher(name, None, CPU)


def test_weights_that_are_not_there_say_what_to_do(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDLSAM_OFFLINE", "1")
    monkeypatch.setenv("MEDLSAM_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match="sam_vit_b"):
        load_teacher("sam_vit_b", None, CPU)
    with pytest.raises(WeightsError, match="none.pth"):
        load_teacher("medsam_vit_b", tmp_path / "none.pth", CPU)
    with pytest.raises(WeightsError, match="written by medlsam and is not sam_vit_b"):
        load_teacher("sam_vit_b", start, CPU)


def test_the_least_iou_is_the_teachers_own() -> None:
    sam, medsam = FakeTeacher(), FakeTeacher()
    medsam.name = "medsam_vit_b"
    assert least_iou(sam, -1) == 0.7
    assert least_iou(medsam, -1) == 0
    assert least_iou(medsam, 0.5) == 0.5
