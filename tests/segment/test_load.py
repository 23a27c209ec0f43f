"""Loading a segmenter: which model a file is of, and files that are none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from medlsam.errors import WeightsError
from medlsam.segment import load as segmenters
from medlsam.segment.load import load_segmenter
from medlsam.segment.registry import SEGMENTERS
from medlsam.segment.sam.checkpoint import TUNED, tuned_metadata
from medlsam.segment.sam.model import SamSlices
from medlsam.weights.store import save_weights
from medlsam.windows import WINDOWS

SAM = SEGMENTERS["sam_vit_b"]
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sam_vit_b_01ec64", "sam_vit_b"),
        ("medsam_vit_b", "medsam_vit_b"),
        ("MedSAM-vit-b", "medsam_vit_b"),
        ("medsam_20230423_vit_b_0.0.1", "medsam_vit_b"),
        ("my_sam_vit_b", "sam_vit_b"),
        ("model_best", None),
    ],
)
def test_a_vit_b_file_must_say_whose_it_is(name: str, expected: str | None) -> None:
    path = Path(f"{name}.pth")
    if expected is None:
        with pytest.raises(WeightsError, match="sam_vit_b or medsam_vit_b"):
            segmenters._spec_of(path, "", "vit_b")
    else:
        assert segmenters._spec_of(path, "", "vit_b").name == expected
    assert segmenters._spec_of(path, str(SAM.sha256), "vit_b") is SAM
    assert segmenters._spec_of(path, "", "vit_h").name == "sam_vit_h"


def test_our_own_files_go_to_their_loader(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save_weights(path, {"w": torch.zeros(2)}, {}, "localizer")
    with pytest.raises(WeightsError, match="holds a localizer, a segmenter is wanted"):
        load_segmenter(path, "cpu")
    with pytest.raises(WeightsError, match="was written by medlsam and is not mobile_sam"):
        load_segmenter(path, "cpu", model="mobile_sam")
    with pytest.raises(WeightsError, match="no segmenter is called 'sam'"):
        load_segmenter(path, "cpu", model="sam")


def test_a_template_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "organs.medlsam"
    save_file({"x": torch.zeros(1)}, path, metadata={"medlsam": '{"kind": "templates", "format": 4}'})
    with pytest.raises(WeightsError, match="holds templates, no weights: give it as --support"):
        load_segmenter(path, "cpu")


def test_the_models_argument_decides_the_preprocessing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "model_best.pth"
    torch.save({"w": torch.zeros(1)}, path)
    monkeypatch.setattr(
        "medlsam.segment.load.load_sam", lambda path, spec, *rest: SamSlices(nn.Module(), spec, CPU)
    )
    for name in ("medsam_vit_b", "sam_vit_b", "mobile_sam", "litemedsam"):
        assert load_segmenter(path, "cpu", model=name).spec is SEGMENTERS[name]


def test_a_fine_tuned_model_is_shown_the_window_that_it_learned_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        "medlsam.segment.load.load_sam", lambda path, spec, *rest: SamSlices(nn.Module(), spec, CPU)
    )
    path = tmp_path / "sam_vit_b-lung.safetensors"
    save_file({"w": torch.zeros(1)}, path, metadata=tuned_metadata(WINDOWS["lung"]))
    spec = load_segmenter(path, "cpu", model="sam_vit_b").spec
    assert (spec.level, spec.width, spec.windows) == (-500, 1400, ())


def test_a_fine_tuned_model_sees_its_own_window_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(
        "medlsam.segment.load.load_sam", lambda path, spec, *rest: SamSlices(nn.Module(), spec, CPU)
    )
    for tuned in (True, False):
        path = tmp_path / f"sam_vit_b-{tuned}.safetensors"
        save_file({"w": torch.zeros(1)}, path, metadata=dict(TUNED) if tuned else None)
        spec = load_segmenter(path, "cpu", model="sam_vit_b").spec
        assert spec.windows == (() if tuned else SAM.windows)
        assert repr(spec) == repr(SAM), "the same embeddings"
