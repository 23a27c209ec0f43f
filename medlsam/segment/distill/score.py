"""How far a student agrees with its teacher on scans that it was not trained on."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from medlsam.measure.metrics import dice
from medlsam.segment.distill.labels import STACK, TaughtScan
from medlsam.segment.prompts import SlicePrompt, oracle_slices
from medlsam.segment.protocol import Segmenter
from medlsam.segment.sam_tiny.train_boxes import jitter

# Sides of jittered boxes move by up to this share of the edge.
_JITTER = 0.1


@dataclass(frozen=True)
class Agreement:
    """Mean Dice of a student with its teacher's masks: patient to the mean over the masks of all scans.

    Attributes:
        exact: with the tight boxes of the masks.
        jittered: with sides moved by up to 10 % of the edge, of which the student is told.
    """

    exact: Mapping[str, float]
    jittered: Mapping[str, float]

    @property
    def mean(self) -> float:
        """Mean over the patients of both."""
        return float(np.mean([*self.exact.values(), *self.jittered.values()]))


def agreement(student: Segmenter, scans: Iterable[TaughtScan], seed: int) -> Agreement:
    """Segment the teacher's masks with the student, as in use, and compare.

    Args:
        student: as loaded from its file.
        scans: judged; each has a mask.
        seed: of the jitter.
    """
    found: dict[str, dict[str, list[float]]] = {"exact": defaultdict(list), "jittered": defaultdict(list)}
    for scan in scans:
        image, masks = scan.image(), [scan.mask(index) for index in scan.kept]
        spacing, shape = image.grid.spacing_xyz[:2], image.array.shape
        rng = np.random.default_rng([seed, 3, *scan.name.encode()])
        prompts = {}
        for number, mask in enumerate(masks):
            # each mask is a structure of its own: those of one slice must not mix
            z = STACK * mask.row + STACK // 2
            exact = oracle_slices(mask.pixels[None], (z, 0, 0))[0]
            x0, y0, x1, y1 = jitter(np.array(exact.box_xyxy), _JITTER, rng).tolist()
            edge_mm = float(np.mean([(x1 - x0) * spacing[0], (y1 - y0) * spacing[1]]))
            box = (max(x0, -0.5), max(y0, -0.5), min(x1, shape[2] - 0.5), min(y1, shape[1] - 0.5))
            prompts[f"exact/{number}"] = [exact]
            prompts[f"jittered/{number}"] = [SlicePrompt(z, box, error_mm=_JITTER * edge_mm / math.sqrt(3))]
        blocks = student.segment(image, prompts)
        for number, mask in enumerate(masks):
            for kind, own in found.items():
                (prompt,) = prompts[f"{kind}/{number}"]
                plane = blocks[f"{kind}/{number}"].window(prompt.z, (0, 0, shape[2], shape[1]))
                assert plane is not None
                own[scan.patient].append(dice(plane >= 0.5, mask.pixels))
    means = [{p: float(np.mean(v)) for p, v in own.items()} for own in found.values()]
    return Agreement(*means)
