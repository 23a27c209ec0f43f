"""Fine-tuning of SAM and MedSAM, whose embedding is that of a whole slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from medlsam.errors import UsageError
from medlsam.runtime.atomic_files import atomic_path
from medlsam.segment.finetune.components import Component
from medlsam.segment.finetune.labelled import LabelledScan
from medlsam.segment.finetune.protocol import (
    Drawn,
    Embedded,
    Stored,
    jittered,
)
from medlsam.segment.registry import SEGMENTERS, SegmenterSpec
from medlsam.segment.sam.checkpoint import tuned_metadata
from medlsam.segment.sam.model import SamSlices
from medlsam.segment.sam.preprocess import scale_boxes


class _Decoding(nn.Module):
    """Prompt encoder and mask decoder of a SAM, without the large image encoder, which is not needed."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.prompt_encoder = deepcopy(network.prompt_encoder)
        self.mask_decoder = deepcopy(network.mask_decoder)


class SliceTuner:
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
        """Embed each slice once; targets are (N, S / 4, S / 4), the size of the decoder's masks."""
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
        """Scale a slice's mask (H, W) to the decoder's pixels: the covered share of each."""
        height, width = self.spec.input_shape((mask.shape[0], mask.shape[1]))
        size = self.spec.input_size
        plane = torch.from_numpy(mask)[None, None].float()
        plane = functional.interpolate(
            plane, (height, width), mode="bilinear", align_corners=False, antialias=True
        )
        plane = functional.pad(plane, (0, size - width, 0, size - height))
        return functional.avg_pool2d(plane, 4)[0, 0]

    def draw(self, stored: Stored, part: int, jitter: float, rng: np.random.Generator | None) -> Drawn:
        """Draw the component's slice and its box, jittered anew each time."""
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
        """Copy the two small parts."""
        module = _Decoding(self.model.network)
        module.mask_decoder.requires_grad_(True)
        return module

    def decode(self, module: nn.Module, batch: Drawn) -> tuple[Tensor, Tensor]:
        """Decode one image after the other: segment-anything puts every box of a call into every image."""
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
        """Write a state dict with segment-anything's names, as safetensors."""
        tuned: Mapping[str, Tensor] = module.state_dict()
        state = {key: tuned.get(key, value) for key, value in self.model.network.state_dict().items()}
        with atomic_path(path) as temporary:
            save_file(
                {key: value.detach().cpu().clone().contiguous() for key, value in state.items()},
                temporary,
                metadata=tuned_metadata(self.spec.window),
            )

    def check_name(self, path: Path) -> None:
        """Refuse names that do not say SAM or MedSAM, since the file does not."""
        stem, name = path.stem.lower().replace("-", "_"), self.spec.name
        rest = stem.removeprefix(name)
        others = [*SEGMENTERS, "medsam"]  # the loader looks for these anywhere in a name
        if path.suffix.lower() != ".safetensors" or rest == stem or any(other in rest for other in others):
            raise UsageError(
                f"{path}: the name of a fine-tuned {name} must begin with it and end in .safetensors, since "
                f"models with other preprocessing have the same keys; such as {path.with_name(f'{name}-tuned')}"
                ".safetensors"
            )
