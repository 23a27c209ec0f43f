"""Build and load whole-slice SAM models: ``encode`` a slice (costly), ``decode`` any number of boxes (cheap)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from medlsam.errors import WeightsError
from medlsam.runtime.device import autocast
from medlsam.segment.registry import Architecture, SegmenterSpec
from medlsam.segment.sam._import import sam_parts
from medlsam.segment.sam.attention import fuse_attention
from medlsam.segment.sam.checkpoint import read_checkpoint, recognise, without_classifier
from medlsam.segment.sam.preprocess import (
    prepare,
    restore,
    scale_boxes,
    scale_masks,
)
from medlsam.segment.sam.tiny_vit import EMBEDDING, GRID, TinyVit
from medlsam.weights.checkpoint import Checkpoint, check_fit

# On a CPU, boxes cost less in small batches; on a GPU, in large ones.
_CPU_BOXES, _GPU_BOXES = 4, 32
# Image encoders beyond segment-anything's own, with the side of their pictures.
_TINY_VITS: Mapping[Architecture, int] = {"tiny_vit_1024": 1024, "tiny_vit_256": 256}


class SamSlices:
    """segment-anything's network with one registry entry's preprocessing.

    Attributes:
        spec: registry entry with the preprocessing.
        network: segment-anything's ``Sam``, of which only the three parts are used.
        device: device of the network.
        precision: precision of the image encoder: ``auto``, ``float32`` or ``bfloat16``.
    """

    def __init__(
        self, network: nn.Module, spec: SegmenterSpec, device: torch.device, precision: str = "auto"
    ) -> None:
        self.spec = spec
        self.device, self.precision = device, precision
        self.network: Any = network.eval().requires_grad_(False).to(device)

    @torch.inference_mode()
    def encode(self, slice_hu: NDArray[np.generic], window_hu: tuple[float, float] | None = None) -> Tensor:
        """Encode a slice (H, W) in HU: embedding (1, 256, 64, 64), float32 on ``device``.

        Args:
            slice_hu: (H, W) HU.
            window_hu: lowest and highest HU to show; None for the model's own window.
        """
        pixels = prepare(slice_hu, self.spec.in_window(window_hu), self.device)
        with autocast(self.device, self.precision):
            embedding: Tensor = self.network.image_encoder(pixels)
        return embedding.float()

    @torch.inference_mode()
    def decode(
        self,
        embedding: Tensor,
        boxes: ArrayLike,
        shape_hw: tuple[int, int],
        points: ArrayLike | None = None,
        mask_prompts: Tensor | None = None,
    ) -> Tensor:
        """Decode the masks of boxes in an encoded slice.

        Args:
            embedding: result of ``encode``.
            boxes: (N, 4) x0, y0, x1, y1 in continuous pixel indices.
            shape_hw: rows and columns of the slice.
            points: (N, K, 3) x, y in continuous pixel indices and 1 for inside, 0 for outside; NaN for no point. (N, 2)
                are points inside.
            mask_prompts: (N, H, W) probabilities of rough masks; NaN for boxes without.

        Returns:
            (N, H, W) float32 logits at the slice's size, on the CPU.
        """
        return self.decode_scored(embedding, boxes, shape_hw, points, mask_prompts)[0]

    @torch.inference_mode()
    def decode_scored(
        self,
        embedding: Tensor,
        boxes: ArrayLike,
        shape_hw: tuple[int, int],
        points: ArrayLike | None = None,
        mask_prompts: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Decode as ``decode`` does; returns the logits, and the IoU (N,) that the model expects of each mask."""
        prompt_encoder = self.network.prompt_encoder
        scaled = torch.as_tensor(scale_boxes(boxes, shape_hw, self.spec), device=self.device)
        places = None
        if points is not None:
            given = np.asarray(points, dtype=np.float32)
            if given.ndim == 2:
                given = np.concatenate([given[:, None], np.ones((len(given), 1, 1), np.float32)], axis=2)
            twice = np.tile(given[..., :2].reshape(-1, 2), 2)  # a box of one point
            xy = scale_boxes(twice, shape_hw, self.spec)[:, :2].reshape(*given.shape[:2], 2)
            places = torch.as_tensor(np.concatenate([xy, given[..., 2:]], axis=2), device=self.device)
        rough = None
        if mask_prompts is not None:
            rough = scale_masks(mask_prompts, self.spec, prompt_encoder.mask_input_size).to(self.device)
        step = _CPU_BOXES if self.device.type == "cpu" else _GPU_BOXES
        masks, qualities = [torch.zeros((0, *shape_hw))], [torch.zeros(0)]
        for start in range(0, len(scaled), step):
            part = slice(start, start + step)
            sparse, dense = self._prompts(
                scaled[part], None if places is None else places[part], None if rough is None else rough[part]
            )
            logits, quality = self.network.mask_decoder(
                image_embeddings=embedding,
                image_pe=prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=False,  # a box is not ambiguous
            )
            masks.append(restore(logits[:, 0], shape_hw, self.spec).cpu())
            qualities.append(quality[:, 0].float().cpu())
        return torch.cat(masks), torch.cat(qualities)

    def _prompts(self, boxes: Tensor, points: Tensor | None, masks: Tensor | None) -> tuple[Tensor, Tensor]:
        """Embed some boxes, in input pixels, with their points and mask prompts: sparse and dense embeddings."""
        prompt_encoder = self.network.prompt_encoder
        places = None
        if points is not None:
            known = ~points.isnan().any(dim=2)
            given = torch.nan_to_num(points)
            # label -1 is segment-anything's own "no point here"
            places = (given[..., :2], torch.where(known, given[..., 2].round().long(), -1))
        sparse, dense = prompt_encoder(points=places, boxes=boxes, masks=None)
        if masks is not None:
            masked = ~masks[:, 0, 0].isnan()
            _, rough = prompt_encoder(points=None, boxes=None, masks=torch.nan_to_num(masks)[:, None])
            dense = torch.where(masked[:, None, None, None], rough, dense)
        return sparse, dense


def build_network(architecture: Architecture) -> nn.Module:
    """Build segment-anything's ``Sam`` with random weights, a given image encoder and fused attention."""
    # Not on the meta device: there, a product in the prompt encoder makes torch import its whole compiler, which
    # takes longer than the random numbers.
    size = _TINY_VITS.get(architecture)
    if size is not None:
        return _tiny_sam(size)
    return fuse_attention(sam_parts().build_sam.sam_model_registry[architecture]())


def _tiny_sam(size: int) -> nn.Module:
    """Build ``Sam`` with TinyViT for pictures of ``size``, and the prompt encoder and mask decoder of all SAMs."""
    modeling = sam_parts().modeling
    encoder = TinyVit(size)
    prompts = modeling.PromptEncoder(
        embed_dim=EMBEDDING,
        image_embedding_size=(GRID, GRID),
        input_image_size=(size, size),
        mask_in_chans=16,
    )
    decoder = modeling.MaskDecoder(
        transformer_dim=EMBEDDING,
        transformer=modeling.TwoWayTransformer(depth=2, embedding_dim=EMBEDDING, mlp_dim=2048, num_heads=8),
        num_multimask_outputs=3,
        iou_head_depth=3,
        iou_head_hidden_dim=256,
    )
    network: nn.Module = modeling.Sam(encoder, prompts, decoder)
    return network


def load_sam(
    path: str | Path,
    spec: SegmenterSpec,
    device: torch.device,
    checkpoint: Checkpoint | None = None,
    precision: str = "auto",
) -> SamSlices:
    """Load a checkpoint of the SAM family.

    Args:
        path: the file.
        spec: registry entry; its image encoder must be the file's.
        device: device of the model.
        checkpoint: result of ``read_checkpoint(path)``, where it was read already.
        precision: see ``SamSlices``.

    Raises:
        WeightsError: no such file, damaged, or weights of another kind.
    """
    checkpoint = read_checkpoint(path) if checkpoint is None else checkpoint
    found = recognise(checkpoint, path)
    if found != spec.architecture:
        raise WeightsError(f"{path} holds a SAM {found}; {spec.name} needs {spec.architecture}")
    state = without_classifier(checkpoint.state) if found in _TINY_VITS else checkpoint.state
    network = build_network(found)
    check_fit(state, network.state_dict(), path, f"the network of {spec.name}")
    network.load_state_dict(state, strict=True, assign=True)  # assign: no copies
    # absent from checkpoints; the registry entry has these values
    for name in ("pixel_mean", "pixel_std"):
        network.register_buffer(name, None, persistent=False)
    return SamSlices(network, spec, device, precision)
