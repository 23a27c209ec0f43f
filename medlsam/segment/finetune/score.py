"""Dice of a segmenter on labelled scans with true slice boxes, and the comparison of two segmenters."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import wilcoxon

from medlsam.errors import TemplateError
from medlsam.measure.metrics import dice
from medlsam.segment.finetune.components import Component, components
from medlsam.segment.finetune.labelled import LabelledScan
from medlsam.segment.prompts import SlicePrompt
from medlsam.segment.protocol import Segmenter


@dataclass(frozen=True)
class Scores:
    """Dice of one segmenter; every 2D component had its own tight box as the prompt.

    Attributes:
        patients: patient to 3D Dice, mean over the patient's structures and scans. This decides.
        components: scan, structure, slice and number of a component to its Dice in its slice, as the HCUCH
            paper scores. Neighbouring slices are alike, so these are more numbers than observations.
    """

    patients: Mapping[str, float]
    components: Mapping[tuple[str, str, int, int], float]

    @property
    def mean(self) -> float:
        """Mean over the patients."""
        return float(np.mean(list(self.patients.values())))


@dataclass(frozen=True)
class Comparison:
    """The scores of the same scans by two segmenters.

    Attributes:
        n: pairs.
        before: mean, standard deviation of the sample and median.
        after: the same.
        p: of the two-sided Wilcoxon signed-rank test; 1 where nothing differs.
    """

    n: int
    before: tuple[float, float, float]
    after: tuple[float, float, float]
    p: float

    def to_dict(self) -> dict[str, Any]:
        """Round it for the history file."""
        keys = ("mean", "std", "median")
        sides = {"before": self.before, "after": self.after}
        figures = {
            side: dict(zip(keys, (round(v, 4) for v in own), strict=True)) for side, own in sides.items()
        }
        return {"n": self.n, **figures, "wilcoxon_p": float(f"{self.p:.3g}")}


def score(segmenter: Segmenter, scans: Iterable[LabelledScan]) -> Scores:
    """Segment labelled scans with their true slice boxes, and score the masks.

    Args:
        segmenter: loaded.
        scans: canonical; they may be read one after the other.

    Raises:
        TemplateError: a scan has no component that is large enough.
    """
    by_patient: dict[str, list[float]] = defaultdict(list)
    single: dict[tuple[str, str, int, int], float] = {}
    for scan in scans:
        parts = components(scan)
        if not parts:
            raise TemplateError(
                f"{scan.name}: no part of {', '.join(scan.names.values()) or 'the chosen structures'} is large enough "
                "in any slice to judge by; leave the scan out"
            )
        # parts of one slice have names of their own: their masks must not mix
        prompts: dict[str, list[SlicePrompt]] = defaultdict(list)
        for part in parts:
            prompts[_key(part)].append(SlicePrompt(part.z, part.box_xyxy, error_mm=0.0))
        blocks = segmenter.segment(scan.image, prompts)
        shape_hw = scan.image.array.shape[1:]
        found = {name: np.zeros(scan.image.array.shape, bool) for name in {p.structure for p in parts}}
        for part in parts:
            block, plane = blocks[_key(part)], np.zeros(shape_hw, bool)
            (z0, y0, x0), (_, y1, x1) = block.origin_zyx, block.end_zyx
            plane[y0:y1, x0:x1] = block.probability[part.z - z0] >= 0.5
            found[part.structure][part.z] |= plane
            single[scan.name, part.structure, part.z, part.number] = dice(plane, part.mask(shape_hw))
        values = {name: value for value, name in scan.names.items()}
        for name, mask in found.items():
            by_patient[scan.patient].append(dice(mask, scan.labels.array == values[name]))
    return Scores({patient: float(np.mean(own)) for patient, own in by_patient.items()}, single)


def compare(before: Mapping[Any, float], after: Mapping[Any, float]) -> Comparison:
    """Pair two sets of figures by their keys.

    Args:
        before: of the old segmenter.
        after: of the new one, with the same keys.
    """
    assert before.keys() == after.keys(), "scores of the same scans"
    old, new = (np.array([side[key] for key in before]) for side in (before, after))
    p = float(wilcoxon(new, old).pvalue) if (new != old).any() else 1.0
    return Comparison(len(old), _summary(old), _summary(new), p if math.isfinite(p) else 1.0)


def _key(part: Component) -> str:
    return f"{part.structure}/{part.number}"


def _summary(values: Sequence[float] | Any) -> tuple[float, float, float]:
    std = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return (float(np.mean(values)), std, float(np.median(values)))
