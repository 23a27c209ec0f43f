"""Embeddings and targets of fine-tuning, for crops and for whole slices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medlsam.errors import TemplateError
from medlsam.segment.finetune.components import Component, components
from medlsam.segment.finetune.crop_tuner import CropTuner
from medlsam.segment.finetune.embeddings import EmbeddedScan, embed_cases
from medlsam.segment.finetune.labelled import LabelledScan, find_labelled
from medlsam.segment.finetune.options import FinetuneOptions
from medlsam.segment.finetune.protocol import Drawn, Tuner
from medlsam.segment.finetune.slice_tuner import SliceTuner
from medlsam.segment.prompts import SlicePrompt
from medlsam.segment.registry import SEGMENTERS
from medlsam.segment.sam.model import SamSlices
from medlsam.segment.sam.preprocess import restore
from medlsam.segment.sam_tiny.crops import frame_around, paste
from tests.support.data.tuning_data import (
    SMALL,
    quiet,
    scan,
    small_sam,
    write_case,
    write_cases,
)

CPU = torch.device("cpu")
RNG = np.random.default_rng


class InMemory:
    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        self.tensors = tensors

    def row(self, name: str, index: int) -> torch.Tensor:
        return self.tensors[name][index]


def batch_of(tuner: Tuner, own: LabelledScan, indices: list[int]) -> Drawn:
    """The samples with their exact boxes."""
    stored = InMemory(tuner.embed(own, components(own), 1, 0.0, RNG(0)))
    drawn = [tuner.draw(stored, index, 0.0, None) for index in indices]
    return {key: torch.stack([sample[key] for sample in drawn]) for key in drawn[0]}


# embeddings and targets


def test_crops_show_their_jittered_boxes_and_targets(tiny: CropTuner) -> None:
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


def test_a_view_is_drawn_with_its_own_box(tiny: CropTuner) -> None:
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


def test_cached_crops_decode_as_the_segmenter_does(tiny: CropTuner) -> None:
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
    tuner = SliceTuner(SamSlices(small_sam(), SEGMENTERS[name], CPU))
    batch = batch_of(tuner, scan(5), [0])
    rows, columns = torch.nonzero(batch["target"][0] > 0.5, as_tuple=True)
    found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_allclose(batch["box"][0] / 4, found, atol=1.5)


def test_slice_decoding_is_the_models(sam: SliceTuner) -> None:
    own = scan(5)
    part = components(own)[0]
    batch = batch_of(sam, own, [0])
    logits, quality = sam.decode(sam.trainable(), batch)
    shape_hw = own.image.array.shape[1:]
    expected = sam.model.decode(batch["embedding"], [part.box_xyxy], shape_hw)
    torch.testing.assert_close(restore(logits, shape_hw, sam.spec), expected, atol=1e-4, rtol=1e-4)
    assert quality.shape == (1,)


def test_each_slice_has_one_embedding(sam: SliceTuner) -> None:
    own = scan(5)
    parts = components(own)
    twice = [*parts, Component("egg", parts[0].z, 1, (1, 1), np.ones((4, 4), bool))]
    made = sam.embed(own, twice, 4, 5.0, RNG(0))
    assert made["embedding"].shape == (3, 256, 64, 64)
    assert made["level"].tolist() == [0, 1, 2, 0]
    moved = {tuple(sam.draw(InMemory(made), 0, 5.0, RNG(k))["box"].tolist()) for k in range(5)}
    assert len(moved) == 5  # the box is jittered at each draw


def test_embeddings_are_kept_until_something_changes(tiny: CropTuner, tmp_path: Path) -> None:
    calls = []

    class Counting(CropTuner):
        def embed(self, own: LabelledScan, *args: Any) -> dict[str, torch.Tensor]:
            calls.append(own.name)
            return super().embed(own, *args)

    tuner = Counting(tiny.segmenter)
    folder, data = tmp_path / "cache", write_cases(tmp_path / "data", [1, 2])

    def embedded(signature: str = "s", **changed: Any) -> list[EmbeddedScan]:
        found = find_labelled([data])
        return embed_cases(tuner, signature, found, folder, FinetuneOptions(**changed), quiet)

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


def test_a_scan_with_specks_only_is_named(tiny: CropTuner, tmp_path: Path) -> None:
    write_case(tmp_path, "egg_1", 1, radius=1)
    with pytest.raises(TemplateError, match="labels.nii.gz: no part of egg is large enough"):
        embed_cases(tiny, "s", find_labelled([tmp_path]), tmp_path, FinetuneOptions(), quiet)
