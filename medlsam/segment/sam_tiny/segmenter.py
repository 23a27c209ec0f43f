"""Segment with ``sam-tiny``: one crop per prompt, batched over structures and slices, and a second pass.

A located box is several millimetres off, and the network, trained on such boxes, often finds the structure beside it.
Then the box of the mask is the better prompt, since it centres the structure in the crop. So boxes that their masks do
not fill, or exceed, are moved towards the masks and segmented again; a box that fits is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medlsam.errors import GeometryError, WeightsError
from medlsam.geometry import IDENTITY_DIRECTION
from medlsam.runtime.atomic_files import sha256_of
from medlsam.runtime.device import autocast
from medlsam.runtime.fold_batchnorm import folded
from medlsam.runtime.stopwatch import Stopwatch
from medlsam.segment.label_map import MaskBlock
from medlsam.segment.prompts import SlicePrompt, oracle_slices
from medlsam.segment.registry import SEGMENTERS, SegmenterSpec
from medlsam.segment.sam_tiny.crops import (
    CropItem,
    channels,
    empty_block,
    frame_around,
    neighbour_step,
    planes_at,
    sample,
    sample_mask,
    write,
)
from medlsam.segment.sam_tiny.network import Embedding, TinyConfig, TinySam, channels_last
from medlsam.volume import Image
from medlsam.volume.components import largest_components
from medlsam.weights.store import load_weights

BATCH = 32
# A smaller mask is too uncertain to move a box.
_MIN_PIXELS = 3


class TinySegmenter:
    """A ``Segmenter`` of the crop kind.

    Attributes:
        net: network as loaded, in inference mode on ``device``.
        quick: the same network with its normalisation folded in, used for inference.
        signature: sha256 of the weights file; empty for a network that came from none.
        spec: registry entry.
        precision: precision of forward passes: ``auto``, ``float32`` or ``bfloat16``.
    """

    def __init__(
        self,
        net: TinySam,
        device: torch.device | None = None,
        signature: str = "",
        spec: SegmenterSpec = SEGMENTERS["sam-tiny"],
        precision: str = "auto",
    ) -> None:
        self.device = device or torch.device("cpu")
        self.net: TinySam = net.eval().requires_grad_(False).to(self.device)
        self.quick = channels_last(folded(self.net))
        self.signature, self.spec, self.precision = signature, spec, precision

    @property
    def config(self) -> TinyConfig:
        """Sizes of the network, HU windows and crop size."""
        return self.net.config

    @classmethod
    def load(
        cls, path: Path | str, device: torch.device | None = None, precision: str = "auto"
    ) -> TinySegmenter:
        """Open a weights file written by ``python -m medlsam.segment.sam_tiny.train export``.

        Raises:
            WeightsError: not a segmenter of this architecture.
        """
        state, config = load_weights(Path(path), "segmenter")
        net = TinySam(TinyConfig.from_dict(config, path))
        try:
            net.load_state_dict(state)
        except RuntimeError as error:
            raise WeightsError(f"{path}: the tensors do not fit the configuration inside: {error}") from error
        return cls(net, device, sha256_of(Path(path)), precision=precision)

    def segment(
        self,
        volume: Image,
        prompts: Mapping[str, Sequence[SlicePrompt]],
        stopwatch: Stopwatch | None = None,
        mask_prompts: Mapping[str, MaskBlock] | None = None,
    ) -> dict[str, MaskBlock]:
        """Segment structures crop by crop; see ``Segmenter.segment``.

        Returns:
            Structure to a block that spans its prompts' slices and crops. Probabilities below 2 % count as 0.

        Raises:
            GeometryError: the grid is not canonical, or a prompt lies outside of the scan.
        """
        if not np.allclose(volume.grid.direction, IDENTITY_DIRECTION, atol=1e-3):
            raise GeometryError(
                f"{volume.path or 'volume'}: segmentation wants the canonical grid, got direction "
                f"{volume.grid.direction}; use medlsam.volume.to_canonical"
            )
        stopwatch, masks = stopwatch or Stopwatch(), mask_prompts or {}
        current: Mapping[str, Sequence[SlicePrompt]] = {name: own for name, own in prompts.items() if own}
        blocks = self._segment_once(volume, current, stopwatch, masks)
        for _ in range(self.config.refits):
            current = self._refitted(current, blocks)
            if not current:
                break
            blocks.update(self._segment_once(volume, current, stopwatch, masks))
        return blocks

    def _refitted(
        self, prompts: Mapping[str, Sequence[SlicePrompt]], blocks: Mapping[str, MaskBlock]
    ) -> dict[str, Sequence[SlicePrompt]]:
        """Make new prompts for structures whose boxes do not fit their masks; exact boxes stay.

        A structure with prompts in one slice only is left out: whether all its parts there belong to it (the two rami
        of a jaw) shows only where other slices join them.
        """
        how = self.config.refit_share, self.config.refit_tolerance, self.config.refit_error_mm
        several = {
            name: chosen
            for name, chosen in prompts.items()
            if len({p.z for p in chosen}) > 1 and not all(p.error_mm == 0 for p in chosen)
        }
        moved = {name: refit(chosen, blocks[name], *how) for name, chosen in several.items()}
        return {name: chosen for name, chosen in moved.items() if chosen is not None}

    def _segment_once(
        self,
        volume: Image,
        prompts: Mapping[str, Sequence[SlicePrompt]],
        stopwatch: Stopwatch,
        masks: Mapping[str, MaskBlock],
    ) -> dict[str, MaskBlock]:
        """Run the network once over all prompts."""
        items = {name: [self._item(name, p, volume) for p in chosen] for name, chosen in prompts.items()}
        blocks = {name: empty_block(mine) for name, mine in items.items()}
        flat = [item for mine in items.values() for item in mine]
        for start in range(0, len(flat), BATCH):
            batch = flat[start : start + BATCH]
            with stopwatch("encode"):
                embedding = self._encode(volume, batch)
            with stopwatch("decode"):
                logits = self._decode(embedding, batch, masks)
                for item, answer in zip(batch, logits, strict=True):
                    write(blocks[item.structure], item, answer)
        return blocks

    def _item(self, structure: str, prompt: SlicePrompt, volume: Image) -> CropItem:
        depth, rows, columns = volume.array.shape
        x0, y0, x1, y1 = prompt.box_xyxy
        if not 0 <= prompt.z < depth or x1 <= -0.5 or y1 <= -0.5 or x0 >= columns - 0.5 or y0 >= rows - 0.5:
            raise GeometryError(
                f"{structure}: the prompt {prompt} leaves the scan of {depth} x {rows} x {columns} voxels"
            )
        spacing = (volume.grid.spacing_xyz[0], volume.grid.spacing_xyz[1])
        frame = frame_around(prompt.box_xyxy, spacing, self.config.zoom, self.config.min_side_mm)
        corners = frame.to_pixels([[0, 0], [1, 1]])
        low = np.clip(np.ceil(corners[0]), 0, [columns - 1, rows - 1]).astype(int)
        high = np.clip(np.floor(corners[1]) + 1, low + 1, [columns, rows]).astype(int)
        return CropItem(structure, prompt, frame, (int(low[0]), int(low[1])), (int(high[0]), int(high[1])))

    @torch.inference_mode()
    def _encode(self, volume: Image, batch: Sequence[CropItem]) -> Embedding:
        step = neighbour_step(volume.grid.spacing_xyz[2], self.config.neighbour_mm)
        crops = [
            sample(planes_at(volume.array, item.prompt.z, step), item.frame, self.config.size)
            for item in batch
        ]
        pictures = channels(torch.stack(crops), self.config.windows)
        with autocast(self.device, self.precision):
            return self.quick.encode(pictures.to(self.device), self._boxes(batch), self._errors(batch))

    def _boxes(self, batch: Sequence[CropItem]) -> Tensor:
        """Return the boxes, (B, 4) edges in crop pixels."""
        boxes = np.stack([item.frame.box(item.prompt.box_xyxy, self.config.size) for item in batch])
        return torch.from_numpy(boxes).float().to(self.device)

    def _points(self, batch: Sequence[CropItem]) -> Tensor | None:
        """Return (B, K, 3) points in crop pixels, filled up with points marked as absent; None where there are none."""
        count = max(len(item.prompt.points) for item in batch)
        if not count:
            return None
        points = torch.tensor([[[0.0, 0.0, -1.0]]]).repeat(len(batch), count, 1)
        for row, item in zip(points, batch, strict=True):
            for place, (px, py, inside) in zip(row, item.prompt.points, strict=False):
                x, y = item.frame.from_pixels((px, py)) * self.config.size
                place[:] = torch.tensor([x, y, float(inside)])
        return points.to(self.device)

    def _errors(self, batch: Sequence[CropItem]) -> Tensor:
        """Return the expected errors of the boxes' sides, (B,), crop pixels."""
        known = (item.prompt.error_mm for item in batch)
        mm = [self.config.located_error_mm if error is None else error for error in known]
        pixels = [
            error / item.frame.side_mm * self.config.size for error, item in zip(mm, batch, strict=True)
        ]
        return torch.tensor(pixels, dtype=torch.float32, device=self.device)

    @torch.inference_mode()
    def _decode(
        self, embedding: Embedding, batch: Sequence[CropItem], masks: Mapping[str, MaskBlock]
    ) -> Tensor:
        rough = None
        if masks:
            side = self.config.size // 2
            rough = torch.stack([sample_mask(masks.get(item.structure), item, side) for item in batch])
            rough = rough.to(self.device)
        with autocast(self.device, self.precision):
            logits, _ = self.quick.decode(embedding, self._boxes(batch), rough, self._points(batch))
        return logits.float().cpu()


def refit(
    prompts: Sequence[SlicePrompt], block: MaskBlock, share: float, tolerance: float, error_mm: float
) -> list[SlicePrompt] | None:
    """Move boxes towards the masks that they gave.

    Args:
        prompts: boxes of one structure.
        block: probabilities that these boxes gave.
        share: how far to move; 1 is all the way to the mask's tight box.
        tolerance: mean distance of the boxes' sides, in box edges, up to which the given boxes fit.
        error_mm: expected error of the new boxes.

    Returns:
        As many prompts in the same slices, exact ones unchanged; None where the given ones fit.
    """
    mask = largest_components(block.probability >= 0.5)
    given = np.array([prompt.box_xyxy for prompt in prompts])
    found = np.array([_tight(mask, block, prompt) for prompt in prompts])
    edges = np.tile(given[:, 2:] - given[:, :2], 2)
    seen = np.isfinite(found).all(axis=1)
    if not seen.any() or np.abs((found - given) / edges)[seen].mean() <= tolerance:
        return None
    exact = np.array([prompt.error_mm == 0 for prompt in prompts])
    moved = np.where((seen & ~exact)[:, None], share * found + (1 - share) * given, given)
    return [
        prompt
        if prompt.error_mm == 0
        else replace(prompt, box_xyxy=(float(x0), float(y0), float(x1), float(y1)), error_mm=error_mm)
        for prompt, (x0, y0, x1, y1) in zip(prompts, moved, strict=True)
    ]


def _tight(mask: NDArray[np.bool_], block: MaskBlock, prompt: SlicePrompt) -> tuple[float, ...]:
    """Find the mask's box in the prompt's slice, in pixel indices; NaN where there is hardly any mask."""
    z, y, x = block.origin_zyx
    plane = mask[prompt.z - z]
    if plane.sum() < _MIN_PIXELS:
        return (np.nan,) * 4
    return oracle_slices(plane[None], (prompt.z, y, x))[0].box_xyxy
