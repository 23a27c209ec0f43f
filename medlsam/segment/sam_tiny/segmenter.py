"""``sam-tiny`` at work: every prompt gets a crop of its own, batched over structures and slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medlsam.errors import GeometryError, WeightsError
from medlsam.geometry import IDENTITY_DIRECTION
from medlsam.runtime.device import autocast
from medlsam.runtime.fold_batchnorm import folded
from medlsam.runtime.stopwatch import Stopwatch
from medlsam.segment.label_map import MaskBlock
from medlsam.segment.prompts import SlicePrompt
from medlsam.segment.registry import SEGMENTERS, SegmenterSpec
from medlsam.segment.sam_tiny.blocks import (
    CropItem,
    empty_block,
    hint,
    write,
)
from medlsam.segment.sam_tiny.crops import (
    channels,
    frame_around,
    neighbour_step,
    planes_at,
    sample,
)
from medlsam.segment.sam_tiny.network import (
    Embedding,
    TinyConfig,
    TinySam,
    channels_last,
)
from medlsam.segment.sam_tiny.refine import refit
from medlsam.volume import Image
from medlsam.weights.registry import sha256_of
from medlsam.weights.store import load_weights

BATCH = 32


class TinySegmenter:
    """A ``Segmenter`` of the crop kind.

    Attributes:
        net: as loaded, in inference mode on ``device``.
        quick: the same with its normalisation folded in: what runs.
        signature: sha256 of the weights file, empty for a network that came from none.
        spec: its registry entry.
        precision: of its passes: ``auto``, ``float32`` or ``bfloat16``.
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
        """The network's sizes, windows and crop size."""
        return self.net.config

    @classmethod
    def load(
        cls, path: Path | str, device: torch.device | None = None, precision: str = "auto"
    ) -> TinySegmenter:
        """Open a weights file that ``tiny_train export`` wrote.

        Raises:
            WeightsError: not a segmenter of this architecture.
        """
        state, config = load_weights(Path(path), "segmenter")
        net = TinySam(config_from_dict(config, path))
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
        priors: Mapping[str, MaskBlock] | None = None,
    ) -> dict[str, MaskBlock]:
        """Probabilities of every structure that has prompts.

        Args:
            volume: HU on a canonical (identity direction) grid.
            prompts: structure to its slice boxes.
            stopwatch: gets the seconds of ``encode`` and ``decode``.
            priors: structure to a rough mask (the templates' mean shape in the located box), which goes in as
                segment-anything's mask prompt; structures without one are segmented from their boxes alone.

        Returns:
            Structure to a block that spans its prompts' slices and crops; one without prompts is left out. What is less
            probable than 2 % counts as 0.

        Raises:
            GeometryError: the grid is not canonical, or a prompt lies outside of the scan.
        """
        if not np.allclose(volume.grid.direction, IDENTITY_DIRECTION, atol=1e-3):
            raise GeometryError(
                f"{volume.path or 'volume'}: segmentation wants the canonical grid, got direction "
                f"{volume.grid.direction}; use medlsam.volume.to_canonical"
            )
        current = {name: chosen for name, chosen in prompts.items() if chosen}
        blocks = self._look(volume, current, stopwatch, priors or {})
        again = current
        for _ in range(self.config.refits):
            again = self._refitted(again, blocks)
            if not again:
                break
            blocks.update(self._look(volume, again, stopwatch, priors or {}))
        return blocks

    def _refitted(
        self, prompts: Mapping[str, Sequence[SlicePrompt]], blocks: Mapping[str, MaskBlock]
    ) -> dict[str, Sequence[SlicePrompt]]:
        """New prompts of the structures whose boxes do not fit their masks; boxes without error stay.

        A structure asked about in one slice is left alone: which of the parts there belong to it (the two rami of
        a jaw) shows only where slices join them.
        """
        how = self.config.refit_share, self.config.refit_tolerance, self.config.refit_error_mm
        several = {
            name: chosen
            for name, chosen in prompts.items()
            if len({p.z for p in chosen}) > 1 and not all(p.error_mm == 0 for p in chosen)
        }
        moved = {name: refit(chosen, blocks[name], *how) for name, chosen in several.items()}
        return {name: chosen for name, chosen in moved.items() if chosen is not None}

    def _look(
        self,
        volume: Image,
        prompts: Mapping[str, Sequence[SlicePrompt]],
        stopwatch: Stopwatch | None,
        priors: Mapping[str, MaskBlock],
    ) -> dict[str, MaskBlock]:
        """One pass of the network over all prompts."""
        items = {name: [self._item(name, p, volume) for p in chosen] for name, chosen in prompts.items()}
        blocks = {name: empty_block(mine) for name, mine in items.items()}
        flat = [item for mine in items.values() for item in mine]
        for start in range(0, len(flat), BATCH):
            batch = flat[start : start + BATCH]
            with _watch(stopwatch, "encode"):
                embedding = self._encode(volume, batch)
            with _watch(stopwatch, "decode"):
                logits = self._decode(embedding, batch, priors)
                for item, answer in zip(batch, logits, strict=True):
                    write(blocks[item.organ], item, answer)
        return blocks

    def _item(self, organ: str, prompt: SlicePrompt, volume: Image) -> CropItem:
        depth, rows, columns = volume.array.shape
        x0, y0, x1, y1 = prompt.box_xyxy
        if not 0 <= prompt.z < depth or x1 <= -0.5 or y1 <= -0.5 or x0 >= columns - 0.5 or y0 >= rows - 0.5:
            raise GeometryError(
                f"{organ}: the prompt {prompt} leaves the scan of {depth} x {rows} x {columns} voxels"
            )
        spacing = (volume.grid.spacing_xyz[0], volume.grid.spacing_xyz[1])
        frame = frame_around(prompt.box_xyxy, spacing, self.config.zoom, self.config.min_side_mm)
        corners = frame.to_pixels([[0, 0], [1, 1]])
        low = np.clip(np.ceil(corners[0]), 0, [columns - 1, rows - 1]).astype(int)
        high = np.clip(np.floor(corners[1]) + 1, low + 1, [columns, rows]).astype(int)
        return CropItem(organ, prompt, frame, (int(low[0]), int(low[1])), (int(high[0]), int(high[1])))

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
        """(B, 4) edges in crop pixels."""
        boxes = np.stack([item.frame.box(item.prompt.box_xyxy, self.config.size) for item in batch])
        return torch.from_numpy(boxes).float().to(self.device)

    def _points(self, batch: Sequence[CropItem]) -> Tensor | None:
        """(B, 1, 3) places inside in crop pixels, marked as absent where a prompt has none; None where none has one."""
        if all(item.prompt.point_xy is None for item in batch):
            return None
        points = torch.tensor([[[0.0, 0.0, -1.0]]]).repeat(len(batch), 1, 1)
        for row, item in zip(points, batch, strict=True):
            if item.prompt.point_xy is not None:
                x, y = item.frame.from_pixels(item.prompt.point_xy) * self.config.size
                row[0] = torch.tensor([x, y, 1.0])
        return points.to(self.device)

    def _errors(self, batch: Sequence[CropItem]) -> Tensor:
        """(B,) what the boxes' sides are expected to be off, crop pixels."""
        known = (item.prompt.error_mm for item in batch)
        mm = [self.config.located_error_mm if error is None else error for error in known]
        pixels = [
            error / item.frame.side_mm * self.config.size for error, item in zip(mm, batch, strict=True)
        ]
        return torch.tensor(pixels, dtype=torch.float32, device=self.device)

    @torch.inference_mode()
    def _decode(
        self,
        embedding: Embedding,
        batch: Sequence[CropItem],
        priors: Mapping[str, MaskBlock],
    ) -> Tensor:
        size = self.config.size
        hints = None
        if priors:
            hints = torch.stack([hint(priors.get(item.organ), item, size // 2) for item in batch]).to(
                self.device
            )
        with autocast(self.device, self.precision):
            logits, _ = self.quick.decode(embedding, self._boxes(batch), hints, self._points(batch))
        return logits.float().cpu()


def config_from_dict(data: Mapping[str, Any], source: Path | str = "configuration") -> TinyConfig:
    """A ``TinyConfig`` from the JSON in a weights file.

    Raises:
        WeightsError: keys that are unknown here: another architecture, or a newer version.
    """
    known = {field.name for field in fields(TinyConfig)}
    if unknown := sorted(set(data) - known):
        raise WeightsError(f"{source}: not a sam-tiny of this version: unknown settings {', '.join(unknown)}")
    values = dict(data)
    if "windows" in values:
        values["windows"] = tuple((float(low), float(high)) for low, high in values["windows"])
    return TinyConfig(**values)


def _watch(stopwatch: Stopwatch | None, stage: str) -> AbstractContextManager[None]:
    return nullcontext() if stopwatch is None else stopwatch(stage)
