"""MedSAM2, with its publishers' package and weights, in place of our own memory.

MedSAM2 (bowang-lab/MedSAM2) is SAM 2.1 with the tiny Hiera encoder at 512 pixels, fine-tuned on medical volumes as
videos. Neither package nor weights are dependencies: ``pip install git+https://github.com/bowang-lab/MedSAM2`` brings
the package ``sam2`` with ``build_sam2_video_predictor_npz``, and the checkpoint is a file of the Hugging Face
repository ``wanglab/MedSAM2`` (``MedSAM2_CTLesion.pt`` for lesions in CT, or ``MedSAM2_latest.pt``).

What is verified here, by tests: a file is recognised by the names and shapes of all its tensors, a wrong one is named,
the package is asked for as its publishers' own script for CT lesions does, and what it answers comes back in the scan's
geometry. Names and shapes are those of the public ``sam2`` 1.1.0 built with its tiny configuration at 512 pixels.
What is NOT verified, because neither could be had where this was written: that the published files hold exactly these
tensors and no others, the name of the configuration inside the package, and how good the masks are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medlsam.errors import UsageError, WeightsError
from medlsam.geometry import tight_slices
from medlsam.lesion.propagate.key_slice import box_in_slice, key_slice, recist_ellipse
from medlsam.lesion.propagate.planes import connected_to
from medlsam.lesion.propagate.prompts import LesionPrompt
from medlsam.runtime.device import resolve_device
from medlsam.runtime.stopwatch import Stopwatch
from medlsam.segment.label_map import MaskBlock
from medlsam.volume import Image


@dataclass(frozen=True)
class MedSam2Entry:
    """What is known of MedSAM2's weights and of how they are used.

    Attributes:
        repository: of the weights, at Hugging Face.
        file: the checkpoint for lesions in CT.
        licence: of code and weights, as its publishers state it.
        config: the configuration's name in the package.
        size: side of its pictures, pixels.
        mean: of the three channels, on 0 to 1.
        std: their standard deviation.
        window_hu: what it is shown where a scan names no window of its own.
    """

    repository: str = "wanglab/MedSAM2"
    file: str = "MedSAM2_CTLesion.pt"
    licence: str = "Apache-2.0"
    config: str = "configs/sam2.1_hiera_t512.yaml"
    size: int = 512
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    window_hu: tuple[float, float] = (-160.0, 240.0)


MEDSAM2 = MedSam2Entry()

#: Tensors that tell MedSAM2's network from others: name to shape.
SIGNS: Mapping[str, tuple[int, ...]] = {
    "maskmem_tpos_enc": (7, 1, 1, 64),
    "no_mem_embed": (1, 1, 256),
    "no_obj_ptr": (1, 256),
    "no_obj_embed_spatial": (1, 64),
    "image_encoder.trunk.patch_embed.proj.weight": (96, 3, 7, 7),
    "image_encoder.trunk.pos_embed": (1, 96, 7, 7),
    "image_encoder.neck.convs.0.conv.weight": (256, 768, 1, 1),
    "memory_attention.layers.3.norm3.weight": (256,),
    "memory_encoder.out_proj.weight": (64, 256, 1, 1),
    "sam_mask_decoder.pred_obj_score_head.layers.2.weight": (1, 256),
    "obj_ptr_tpos_proj.weight": (64, 256),
}
#: Every tensor's name begins with one of these.
PARTS = (
    "image_encoder", "memory_attention", "memory_encoder", "sam_prompt_encoder", "sam_mask_decoder", "mask_downsample",
    "obj_ptr_proj", "obj_ptr_tpos_proj", "maskmem_tpos_enc", "no_mem_embed", "no_mem_pos_enc", "no_obj_ptr",
    "no_obj_embed_spatial",
)  # fmt: skip


def read_medsam2(path: Path | str) -> dict[str, Tensor]:
    """Read a checkpoint of MedSAM2, and check that it is one.

    Args:
        path: ``{"model": tensors}``, as training writes it and as it is published, or the tensors alone.

    Raises:
        WeightsError: no such file, damaged, or weights of another network: what is missing or has another shape.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(
            f"{path}: there is no such file; MedSAM2's weights are {MEDSAM2.file} of "
            f"https://huggingface.co/{MEDSAM2.repository}"
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    # torch reports a wrong file in many ways
    except Exception as error:
        raise WeightsError(
            f"{path}: cannot be read as a checkpoint ({type(error).__name__}: {error})"
        ) from error
    state = content.get("model", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(own, Tensor) for own in state.values()):
        raise WeightsError(f"{path}: holds no tensors by name, so it is not MedSAM2")
    wrong = [f"{name} is missing" for name in SIGNS if name not in state]
    wrong += [
        f"{name} has {tuple(state[name].shape)} instead of {shape}"
        for name, shape in SIGNS.items()
        if name in state and tuple(state[name].shape) != shape
    ]
    wrong += [f"{name} is not known" for name in state if not name.startswith(PARTS)]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise WeightsError(f"{path}: not MedSAM2 with the tiny encoder: {'; '.join(wrong[:3])}{more}")
    return dict(state)


def load_medsam2(path: Path | str | None, device: str = "auto") -> MedSam2:
    """Open MedSAM2.

    Args:
        path: the checkpoint; None is an error that says where to get it.
        device: see ``load_segmenter``.

    Raises:
        WeightsError: no checkpoint, or not of MedSAM2.
        UsageError: the package is not installed.
    """
    if path is None:
        raise WeightsError(
            f"medsam2 needs its checkpoint: --segmenter FILE, {MEDSAM2.file} of https://huggingface.co/{MEDSAM2.repository}"
        )
    where = resolve_device(device)
    read_medsam2(path)
    return MedSam2(_builder()(MEDSAM2.config, str(path), device=str(where)), where)


def _builder() -> Callable[..., Any]:
    """Import the package, here and nowhere else."""
    try:
        from sam2.build_sam import build_sam2_video_predictor_npz
    except ImportError as error:
        raise UsageError(
            "medsam2 needs its publishers' package: pip install git+https://github.com/bowang-lab/MedSAM2 "
            f"({error}; the package sam2 of PyPI lacks the part for volumes)"
        ) from error
    builder: Callable[..., Any] = build_sam2_video_predictor_npz
    return builder


@dataclass(frozen=True)
class MedSam2:
    """A ``Propagator``: MedSAM2's own memory over the slices of a scan.

    Attributes:
        predictor: of the package.
        device: of the pictures.
    """

    predictor: Any
    device: torch.device

    def propagate(
        self, volume: Image, prompt: LesionPrompt, stopwatch: Stopwatch | None = None
    ) -> tuple[int, MaskBlock]:
        """Segment a lesion from the box on its key slice; see ``Propagator.propagate``.

        Raises:
            UsageError: the lesion is a point, which has no box.
        """
        if prompt.kind == "point":
            raise UsageError(
                f"{prompt.name}: medsam2 is prompted with a box or diameters here, not with a point"
            )
        grid, z = volume.grid, key_slice(prompt, volume.grid)
        box = box_in_slice(prompt, grid) if prompt.kind == "box" else recist_ellipse(prompt, grid)[1]
        frames = pictures(volume.array).to(self.device)
        height, width = volume.array.shape[1:]
        mask = np.zeros(volume.array.shape, bool)
        with (stopwatch or Stopwatch())("segment"), torch.inference_mode():
            for reverse in (False, True):
                state = self.predictor.init_state(frames, height, width)
                # pixel edges, as SAM counts them
                edges = np.asarray(box, np.float32) + 0.5
                self.predictor.add_new_points_or_box(inference_state=state, frame_idx=z, obj_id=1, box=edges)
                self._collect(self.predictor.propagate_in_video(state, reverse=reverse), mask)
                self.predictor.reset_state(state)
        return z, _block(mask, z)

    @staticmethod
    def _collect(frames: Iterable[tuple[int, Any, Tensor]], mask: NDArray[np.bool_]) -> None:
        for index, _, logits in frames:
            mask[index] |= (logits[0, 0] > 0).cpu().numpy()


def pictures(hu: NDArray[np.generic]) -> Tensor:
    """Prepare slices as its publishers do: window, 256 grey levels, resized, normalised; (Z, 3, size, size)."""
    low, high = MEDSAM2.window_hu
    size = (MEDSAM2.size, MEDSAM2.size)
    # the conversion to bytes cuts fractions off, as theirs does
    levels = np.floor(np.clip((hu.astype(np.float32) - low) * (255 / (high - low)), 0, 255))
    scaled = torch.nn.functional.interpolate(
        torch.from_numpy(levels)[:, None] / 255, size, mode="bicubic", align_corners=False, antialias=True
    ).clamp(0, 1)
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEDSAM2.mean, MEDSAM2.std))
    return (scaled.expand(-1, 3, -1, -1) - mean) / std


def _block(mask: NDArray[np.bool_], z: int) -> MaskBlock:
    """Keep the part that holds the key slice's mask, as probabilities 0 and 1."""
    seed = np.zeros_like(mask)
    seed[z] = mask[z]
    kept = connected_to(mask, seed)
    box = tight_slices(kept)
    return MaskBlock((box[0].start, box[1].start, box[2].start), kept[box].astype(np.float32))
