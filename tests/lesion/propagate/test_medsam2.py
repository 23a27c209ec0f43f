"""MedSAM2: its checkpoint is recognised by names and shapes, and its package is called as its publishers call it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from medlsam.errors import UsageError, WeightsError
from medlsam.geometry import Box
from medlsam.lesion.propagate.medsam2 import MEDSAM2, SIGNS, load_medsam2, pictures, read_medsam2
from medlsam.lesion.propagate.prompts import LesionPrompt
from medlsam.lesion.propagate.run import propagate_lesions
from tests.lesion.propagate.scans import CENTER, GRID, ball, scan

#: Names and shapes of all tensors of the public `sam2` 1.1.0, configuration `sam2.1_hiera_t` at 512 pixels.
TENSORS: dict[str, list[int]] = json.loads(Path(__file__).with_name("medsam2_tensors.json").read_text())


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return {name: torch.zeros(shape) for name, shape in TENSORS.items()}


@pytest.fixture(scope="module")
def checkpoint(state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / MEDSAM2.file
    torch.save({"model": state}, path)
    return path


def test_the_published_tensors_are_recognised(state: dict[str, Tensor], checkpoint: Path) -> None:
    assert sum(tensor.numel() for tensor in state.values()) == 38_962_754
    assert set(read_medsam2(checkpoint)) == set(TENSORS)
    assert all(TENSORS[name] == list(shape) for name, shape in SIGNS.items())


def test_other_files_are_named(state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    with pytest.raises(WeightsError, match=r"no such file; MedSAM2's weights are MedSAM2_CTLesion.pt"):
        read_medsam2(path)
    path.write_bytes(b"no checkpoint")
    with pytest.raises(WeightsError, match="cannot be read as a checkpoint"):
        read_medsam2(path)
    larger = state | {"image_encoder.trunk.patch_embed.proj.weight": torch.zeros(112, 3, 7, 7)}
    torch.save({"model": larger}, path)
    with pytest.raises(WeightsError, match=r"has \(112, 3, 7, 7\) instead of \(96, 3, 7, 7\)"):
        read_medsam2(path)
    torch.save({"mask_decoder.weight": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match=r"maskmem_tpos_enc is missing.* more"):
        read_medsam2(path)
    torch.save([1], path)
    with pytest.raises(WeightsError, match="holds no tensors by name"):
        read_medsam2(path)


def test_without_package_or_checkpoint_it_says_what_to_get(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WeightsError, match="needs its checkpoint"):
        load_medsam2(None)
    monkeypatch.setitem(sys.modules, "sam2", None)
    monkeypatch.setitem(sys.modules, "sam2.build_sam", None)
    with pytest.raises(UsageError, match="pip install git"):
        load_medsam2(checkpoint, "cpu")


class Predictor:
    """Answers as the package's predictor for volumes does: the ball, in the frames of one direction at a time."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.key = -1

    def init_state(self, images: Tensor, video_height: int, video_width: int) -> dict[str, Any]:
        self.calls.append(("init_state", (tuple(images.shape), video_height, video_width)))
        return {}

    def add_new_points_or_box(self, *, inference_state: Any, frame_idx: int, obj_id: int, box: Any) -> None:
        self.calls.append(("box", np.asarray(box).round(3).tolist()))
        self.key = frame_idx

    def propagate_in_video(
        self, inference_state: Any, reverse: bool = False
    ) -> Iterator[tuple[int, list[int], Tensor]]:
        frames = range(self.key, -1, -1) if reverse else range(self.key, GRID.shape_zyx[0])
        for index in frames:
            yield index, [1], torch.from_numpy(np.where(ball()[index], 4.0, -4.0))[None, None]

    def reset_state(self, inference_state: Any) -> None:
        self.calls.append(("reset", None))


def test_a_lesion_is_segmented_both_ways(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor, built = Predictor(), []

    def build(config: str, path: str, *, device: str) -> Predictor:
        built.append((config, path, device))
        return predictor

    package, module = ModuleType("sam2"), ModuleType("sam2.build_sam")
    module.build_sam2_video_predictor_npz = build  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sam2", package)
    monkeypatch.setitem(sys.modules, "sam2.build_sam", module)
    propagator = load_medsam2(checkpoint, "cpu")
    assert built == [("configs/sam2.1_hiera_t512.yaml", str(checkpoint), "cpu")]
    low, high = (GRID.ijk_to_lps((x, y, CENTER[0])).tolist() for x, y in ((20.5, 18.5), (45.5, 37.5)))
    box = LesionPrompt("a", box=Box(tuple(low), tuple(high)))
    done = propagate_lesions(scan(), [box, LesionPrompt("b", point=tuple(low))], propagator)
    assert np.array_equal(done.lesions[0].mask, ball())
    assert "not with a point" in done.failed["b"]
    assert predictor.calls[:2] == [
        ("init_state", ((30, 3, 512, 512), 60, 70)),
        ("box", [21.0, 19.0, 46.0, 38.0]),
    ]
    assert sum(name == "reset" for name, _ in predictor.calls) == 2


def test_pictures_are_the_window_normalised() -> None:
    hu = np.full((1, 4, 4), 40, np.int16)
    found = pictures(hu)
    assert found.shape == (1, 3, 512, 512)
    grey = 127 / 255  # the middle of the window, cut off to a whole level
    for channel, (mean, std) in enumerate(zip(MEDSAM2.mean, MEDSAM2.std, strict=True)):
        assert found[0, channel].mean().item() == pytest.approx((grey - mean) / std, abs=1e-4)
