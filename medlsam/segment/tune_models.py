"""What fine-tuning needs of a segmenter: frozen embeddings, a decoder to train, and a file to write.

Two kinds: ``CropTuning`` for ``sam-tiny``, whose embedding is that of a crop around one box, and ``SliceTuning``
for SAM and MedSAM, whose embedding is that of a slice. Image encoder and prompt encoder stay as they are (HCUCH
paper, Technical validation: "Only the MedSAM decoder was fine-tuned"; MedSAM's own training freezes the prompt
encoder).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from medlsam.errors import UsageError
from medlsam.files import atomic_path
from medlsam.segment.preprocess import scale_boxes
from medlsam.segment.registry import SEGMENTERS, SegmenterSpec
from medlsam.segment.sam import SamSlices
from medlsam.segment.segmenters import Segmenter, WholeSliceSegmenter
from medlsam.segment.tiny import BATCH, TinySegmenter
from medlsam.segment.tiny_crops import AIR, channels, frame_around, neighbour_step, planes_at, sample
from medlsam.segment.tune_scans import Component, LabelledScan
from medlsam.weights.store import save_weights

Embedded = dict[str, Tensor]
Drawn = dict[str, Tensor]


class Tuning(Protocol):
    """One kind of segmenter, as fine-tuning sees it."""

    @property
    def spec(self) -> SegmenterSpec:
        """Its registry entry."""

    def embed(
        self,
        scan: LabelledScan,
        parts: Sequence[Component],
        views: int,
        jitter: float,
        rng: np.random.Generator,
    ) -> Embedded:
        """Everything that training needs of a scan, computed once.

        Args:
            scan: canonical.
            parts: its 2D components, N of them.
            views: crops of each component for kinds that look at crops, the first with the exact box.
            jitter: see ``jittered``.
            rng: of the jitter.

        Returns:
            Tensors on the CPU, embeddings as float16, masks as uint8 (255 where a pixel is covered).
        """

    def draw(self, stored: Stored, part: int, jitter: float, rng: np.random.Generator | None) -> Drawn:
        """One training sample: embedding, box and target of a component; with ``rng`` None the exact box."""

    def trainable(self) -> nn.Module:
        """A copy of the prompt encoder and the decoder, of which only the decoder learns."""

    def decode(self, module: nn.Module, batch: Drawn) -> tuple[Tensor, Tensor]:
        """(B, h, w) logits and (B,) expected IoU of a batch of ``draw``, with a module of ``trainable``."""

    def save(self, module: nn.Module, path: Path) -> None:
        """Write the whole segmenter with the decoder of ``module``, as ``load_segmenter`` reads it."""

    def check_name(self, path: Path) -> None:
        """Refuse a file name that ``load_segmenter`` could not tell the model from.

        Raises:
            UsageError: with a name that it could.
        """


class Stored(Protocol):
    """A scan's ``Embedded``, of which single rows can be read."""

    def row(self, name: str, index: int) -> Tensor:
        """One row of a tensor along its first axis."""


def tuning_of(segmenter: Segmenter) -> Tuning:
    """How a loaded segmenter is fine-tuned.

    Raises:
        UsageError: a kind that cannot be.
    """
    if isinstance(segmenter, TinySegmenter):
        return CropTuning(segmenter)
    if isinstance(segmenter, WholeSliceSegmenter) and isinstance(segmenter.model, SamSlices):
        return SliceTuning(segmenter.model)
    raise UsageError(f"{segmenter.spec.name}: fine-tuning knows sam-tiny and models of segment-anything only")


def jittered(
    box_xyxy: Sequence[float], shape_hw: tuple[int, int], jitter: float, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """A box whose corners are moved by up to ``jitter`` pixels (paper: 0 to 5), inside the slice.

    No side moves by more than a quarter of the box's edge: what is left of a box of some pixels would hold
    another thing.
    """
    box = np.asarray(box_xyxy, dtype=float)
    most = np.minimum(jitter, np.tile(box[2:] - box[:2], 2) / 4)
    low, high = np.full(4, -0.5), np.tile([shape_hw[1] - 0.5, shape_hw[0] - 0.5], 2)
    x0, y0, x1, y1 = np.clip(box + rng.uniform(-most, most), low, high).tolist()
    return (x0, y0, x1, y1)


class CropTuning:
    """``sam-tiny``: the crop depends on the box, so some jittered crops of each component are embedded."""

    def __init__(self, segmenter: TinySegmenter) -> None:
        self.segmenter = segmenter

    @property
    def spec(self) -> SegmenterSpec:
        """Its registry entry."""
        return self.segmenter.spec

    def embed(
        self,
        scan: LabelledScan,
        parts: Sequence[Component],
        views: int,
        jitter: float,
        rng: np.random.Generator,
    ) -> Embedded:
        """Rows ``part * views + view`` of embeddings, boxes in crop pixels and targets at half the crop's size."""
        config, spacing = self.segmenter.config, scan.image.grid.spacing_xyz
        shape_hw = scan.image.array.shape[1:]
        step = neighbour_step(spacing[2], config.neighbour_mm)
        crops, boxes, targets = [], [], []
        for part in parts:
            # the mask rides along as a fourth plane, counted from the planes' fill
            mask = np.where(part.mask(shape_hw), AIR + 1, AIR)[None]
            planes = np.concatenate([planes_at(scan.image.array, part.z, step), mask])
            for view in range(views):
                box = part.box_xyxy if view == 0 else jittered(part.box_xyxy, shape_hw, jitter, rng)
                frame = frame_around(box, spacing[:2], config.zoom, config.min_side_mm)
                cut = sample(planes, frame, config.size)
                crops.append(channels(cut[:3], config.windows))
                boxes.append(torch.from_numpy(frame.box(box, config.size)).float())
                targets.append(functional.avg_pool2d(cut[3:] - AIR, 2)[0])
        rows = [self._encode(torch.stack(crops[i : i + BATCH])) for i in range(0, len(crops), BATCH)]
        levels = {
            f"embedding.{k}": torch.cat(level).half() for k, level in enumerate(zip(*rows, strict=True))
        }
        target = (torch.stack(targets) * 255).round().to(torch.uint8)
        return {**levels, "box": torch.stack(boxes), "target": target, "views": torch.tensor([views])}

    @torch.inference_mode()
    def _encode(self, crops: Tensor) -> list[Tensor]:
        return [level.float().cpu() for level in self.segmenter.net.encode(crops.to(self.segmenter.device))]

    def draw(self, stored: Stored, part: int, jitter: float, rng: np.random.Generator | None) -> Drawn:
        """One of the component's crops, each with the box that it was cut around."""
        views = int(stored.row("views", 0))
        row = part * views + (0 if rng is None else int(rng.integers(views)))
        levels = {f"embedding.{k}": stored.row(f"embedding.{k}", row).float() for k in range(_LEVELS)}
        return {**levels, "box": stored.row("box", row), "target": stored.row("target", row).float() / 255}

    def trainable(self) -> nn.Module:
        """The network; its encoder lies idle."""
        net = deepcopy(self.segmenter.net)
        net.decoder.requires_grad_(True)
        return net

    def decode(self, module: nn.Module, batch: Drawn) -> tuple[Tensor, Tensor]:
        """One box in each crop."""
        levels = tuple(batch[f"embedding.{k}"] for k in range(_LEVELS))
        logits, quality = module.decode(levels, batch["box"])  # type: ignore[operator]
        return logits, quality

    def save(self, module: nn.Module, path: Path) -> None:
        """Full precision: the steps of fine-tuning are finer than float16."""
        save_weights(path, module.state_dict(), asdict(self.segmenter.config), kind="segmenter")

    def check_name(self, path: Path) -> None:
        """Any name will do: the file says what it is."""


# stride 8, 4 and 2
_LEVELS = 3


class _Decoding(nn.Module):
    """Prompt encoder and mask decoder of a SAM, without the image encoder: that is large, and not needed."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.prompt_encoder, self.mask_decoder = (
            deepcopy(network.prompt_encoder),
            deepcopy(network.mask_decoder),
        )


class SliceTuning:
    """SAM and MedSAM: one embedding serves every box in its slice, so boxes are jittered at each draw."""

    def __init__(self, model: SamSlices) -> None:
        self.model = model

    @property
    def spec(self) -> SegmenterSpec:
        """Its registry entry."""
        return self.model.spec

    def embed(
        self,
        scan: LabelledScan,
        parts: Sequence[Component],
        views: int,
        jitter: float,
        rng: np.random.Generator,
    ) -> Embedded:
        """One embedding a slice; targets (N, S / 4, S / 4) as the decoder answers."""
        shape_hw = scan.image.array.shape[1:]
        levels = sorted({part.z for part in parts})
        embeddings = torch.cat([self.model.encode(scan.image.array[z]).cpu().half() for z in levels])
        target = torch.stack([self._target(part.mask(shape_hw)) for part in parts])
        return {
            "embedding": embeddings,
            "level": torch.tensor([levels.index(part.z) for part in parts]),
            "box": torch.tensor([part.box_xyxy for part in parts]),
            "shape": torch.tensor([shape_hw] * len(parts)),
            "target": (target * 255).round().to(torch.uint8),
        }

    def _target(self, mask: NDArray[np.bool_]) -> Tensor:
        """A slice's mask (H, W) as shares of the pixels that the decoder answers for."""
        height, width = self.spec.input_shape((mask.shape[0], mask.shape[1]))
        size = self.spec.input_size
        plane = torch.from_numpy(mask)[None, None].float()
        plane = functional.interpolate(
            plane, (height, width), mode="bilinear", align_corners=False, antialias=True
        )
        plane = functional.pad(plane, (0, size - width, 0, size - height))
        return functional.avg_pool2d(plane, 4)[0, 0]

    def draw(self, stored: Stored, part: int, jitter: float, rng: np.random.Generator | None) -> Drawn:
        """The component's slice and its box, moved anew each time."""
        height, width = stored.row("shape", part).tolist()
        box: Sequence[float] = stored.row("box", part).tolist()
        if rng is not None:
            box = jittered(box, (height, width), jitter, rng)
        return {
            "embedding": stored.row("embedding", int(stored.row("level", part))).float(),
            "box": torch.from_numpy(scale_boxes([box], (height, width), self.spec)[0]),
            "target": stored.row("target", part).float() / 255,
        }

    def trainable(self) -> nn.Module:
        """Copies of the two small parts."""
        module = _Decoding(self.model.network)
        module.mask_decoder.requires_grad_(True)
        return module

    def decode(self, module: nn.Module, batch: Drawn) -> tuple[Tensor, Tensor]:
        """One image after the other: segment-anything's decoder puts every box of a call into every image."""
        parts: Any = module
        masks, qualities = [], []
        for embedding, box in zip(batch["embedding"], batch["box"], strict=True):
            sparse, dense = parts.prompt_encoder(points=None, boxes=box[None], masks=None)
            logits, quality = parts.mask_decoder(
                image_embeddings=embedding[None],
                image_pe=parts.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=False,
            )
            masks.append(logits[:, 0])
            qualities.append(quality[:, 0])
        return torch.cat(masks), torch.cat(qualities)

    def save(self, module: nn.Module, path: Path) -> None:
        """A state dict in segment-anything's names, as safetensors."""
        tuned: Mapping[str, Tensor] = module.state_dict()
        state = {key: tuned.get(key, value) for key, value in self.model.network.state_dict().items()}
        with atomic_path(path) as temporary:
            save_file(
                {key: value.detach().cpu().clone().contiguous() for key, value in state.items()}, temporary
            )

    def check_name(self, path: Path) -> None:
        """The file does not say whether it is a SAM or a MedSAM, so its name must."""
        stem, name = path.stem.lower().replace("-", "_"), self.spec.name
        rivals = [s.name for s in SEGMENTERS.values() if s.name != name and s.name in stem.replace(name, "")]
        if (
            path.suffix.lower() != ".safetensors"
            or not stem.startswith(name)
            or rivals
            or "medsam" in stem[1:]
        ):
            raise UsageError(
                f"{path}: the name of a fine-tuned {name} must begin with it and end in .safetensors, since "
                f"models with other preprocessing have the same keys; such as {path.with_name(f'{name}-tuned')}"
                ".safetensors"
            )
