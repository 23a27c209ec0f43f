"""Distillation with teachers whose masks are known: does the student that ships come to agree, and what does it forget?

    python benchmarks/segment/distill_known.py [--teacher otsu|itself] [--steps N] [--keep SHARE] [--output FILE]
                                               [--json FILE]

No weights of a large model are needed. The teacher is a rule (`otsu`): in each box the threshold that parts HU best,
the side that touches the box's edge less, its largest part, holes filled. Or it is the student itself (`itself`): then
there is nothing to learn, and `medlsam evaluate --segmenter FILE` on the output of `--output` says what the training
alone does to located structures.

Eleven patients of `body2` train, five others judge: printed is the Dice of the student with the teacher's masks before
and after, exact and jittered boxes, with n and Wilcoxon's p. It shows that the student learns what it is taught, not
that the teacher is right. By default 6 slices a scan, 6 boxes a slice, 200 steps of 16 crops: two minutes of one core.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from torch import Tensor

from benchmarks.common import CT, answer, command, progress
from medlsam.cli.finetune.table import agreement_table
from medlsam.geometry import Grid
from medlsam.segment.distill.options import DistillOptions
from medlsam.segment.distill.run import distill
from medlsam.segment.distill.teacher import Teacher
from medlsam.segment.load import load_segmenter
from medlsam.segment.prompts import SlicePrompt
from medlsam.volume import Image

TRAIN = (
    "acrin_nsclc_042",
    "hcc_005_b_ph2",
    "hcc_007_a2",
    "lung4d_113",
    "lung_dx_a0002",
    "lungfcp_0001",
    "nsclc_radiogenomics_r01_001",
    "rider_0109",
    "tcga_34_2605",
    "tcga_de_a4ma_wb",
    "vhf_pelvis_900",
)
JUDGE = ("ctc_0518_supine_low", "hcc_009_a_ph2", "lungx_ct004", "rider_0117", "tcga_bc_a10x")
TRAINING = DistillOptions(
    slices_per_scan=6, prompts_per_slice=6, steps=200, batch_size=16, learning_rate=2e-4, warmup_steps=20
)


class RuleTeacher:
    """Parts each box by the threshold that suits it best."""

    name = "otsu"
    signature = "otsu 1"

    def encode(self, slice_hu: NDArray[np.generic]) -> Tensor:
        """Blur the slice a little."""
        hu = np.clip(slice_hu.astype(np.float32), -1000, 1000)
        return torch.from_numpy(ndimage.gaussian_filter(hu, 1.0))

    def decode(
        self, embedding: Tensor, boxes: ArrayLike, shape_hw: tuple[int, int]
    ) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Segment boxes (N, 4); it is always sure."""
        plane, rows = embedding.numpy(), np.asarray(boxes, dtype=float).reshape(-1, 4)
        masks = np.zeros((len(rows), *shape_hw), bool)
        for mask, (x0, y0, x1, y1) in zip(masks, rows, strict=True):
            y, x = (slice(max(round(low + 0.5), 0), round(high + 0.5)) for low, high in ((y0, y1), (x0, x1)))
            mask[y, x] = parted(plane[y, x])
        return masks, np.ones(len(rows), np.float32)


class ItselfTeacher:
    """The student that ships; a slice's neighbours are the slice itself.

    Args:
        device: to run on.
    """

    name = "itself"

    def __init__(self, device: str) -> None:
        self.student = load_segmenter("sam-tiny", device)
        self.signature = self.student.signature

    def encode(self, slice_hu: NDArray[np.generic]) -> Tensor:
        """Hand on the slice."""
        return torch.from_numpy(slice_hu.astype(np.int16))

    def decode(
        self, embedding: Tensor, boxes: ArrayLike, shape_hw: tuple[int, int]
    ) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Segment exact boxes (N, 4) in pixels of 2.5 mm, which those of `body2` are."""
        image = Image(embedding.numpy()[None], Grid((1, *shape_hw), (2.5, 2.5, 3.0)))
        rows = [tuple(box) for box in np.asarray(boxes, dtype=float).reshape(-1, 4).tolist()]
        prompts = {str(k): [SlicePrompt(0, box, error_mm=0.0)] for k, box in enumerate(rows)}
        blocks = self.student.segment(image, prompts)
        planes = [blocks[name].window(0, (0, 0, shape_hw[1], shape_hw[0])) for name in prompts]
        masks = [plane >= 0.5 for plane in planes if plane is not None]
        return np.stack(masks), np.ones(len(rows), np.float32)


def parted(hu: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Part a box (rows, columns) of HU: the side of Otsu's threshold that touches the edge less."""
    values = np.sort(hu.ravel())
    below = np.arange(1, values.size)
    sums = np.cumsum(values, dtype=float)
    means = sums[:-1] / below, (sums[-1] - sums[:-1]) / (values.size - below)
    between = below * (values.size - below) * (means[0] - means[1]) ** 2
    bright = hu > values[int(between.argmax())]
    edge = np.concatenate([bright[0], bright[-1], bright[:, 0], bright[:, -1]])
    inside = bright if edge.mean() <= bright.mean() else ~bright
    numbered, count = ndimage.label(inside)
    if not count:
        return np.asarray(inside)
    largest = numbered == 1 + np.bincount(numbered.ravel())[1:].argmax()
    return np.asarray(ndimage.binary_fill_holes(largest))


def options() -> argparse.ArgumentParser:
    """The options of this script."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--ct", type=Path, default=CT, metavar="DIR", help="real scans (%(default)s)")
    parser.add_argument("--segmenter", default="sam-tiny", help="the student: a known name or a weights file")
    parser.add_argument("--steps", type=int, default=TRAINING.steps, help="of the training (%(default)s)")
    parser.add_argument("--teacher", choices=["otsu", "itself"], default="otsu", help="(%(default)s)")
    parser.add_argument(
        "--keep", type=float, default=TRAINING.keep, help="share of kept answers (%(default)s)"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, metavar="FILE", help="keep the student")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep the teacher's masks")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    return parser


def main() -> None:
    arguments = options().parse_args()
    teacher: Teacher = RuleTeacher() if arguments.teacher == "otsu" else ItselfTeacher(arguments.device)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode(mode=False):
        done = distill(
            arguments.ct / "body2",
            arguments.output or Path(folder) / "student.safetensors",
            teacher=teacher,
            segmenter=arguments.segmenter,
            cases=[*TRAIN, *JUDGE],
            held_out=JUDGE,
            overwrite=True,
            options=replace(TRAINING, steps=arguments.steps, keep=arguments.keep),
            device=arguments.device,
            cache=arguments.cache,
            on_progress=progress,
            on_note=progress,
        )
        record = dict(done.record)
    answer([agreement_table(record)], record, arguments.json)


if __name__ == "__main__":
    command(main)
