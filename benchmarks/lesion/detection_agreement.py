"""Do our region counts and Dice agree with panoptica's, where both define them?

    python -m venv .venv-panoptica && .venv-panoptica/bin/pip install panoptica simpleitk filelock
    PYTHONPATH=. .venv-panoptica/bin/python benchmarks/lesion/detection_agreement.py

panoptica (2.1.7) wants an older numpy than our pins, so it lives in an environment of its own; our code needs only
numpy, scipy and SimpleITK there. Drawn are pairs of masks with up to twelve blobs: a lesion of the reference is
found, moved, grown, shrunk, split, merged with a neighbour, missed, or there is one more. Compared are TP, FP, FN,
F1 and Dice, with greedy matching against panoptica's ``NaiveThresholdMatching`` and with optimal matching against
its ``MaxBipartiteMatching``. Takes a minute or two.

Where they define different things: with neither side a region panoptica has F1 0 or nan by its settings, ours is
nan; with one side empty its Dice follows its settings, ours is 0. Such pairs are counted apart and only their
counts compared.
"""

from __future__ import annotations

import argparse
import math
import warnings
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medlsam.measure.detection import detection_score

SHAPE = (24, 64, 64)
THRESHOLDS = (0.1, 0.3, 0.5, 0.75)


def ball(center: NDArray[np.float64], radii: NDArray[np.float64]) -> NDArray[np.bool_]:
    """An ellipsoid, (Z, Y, X); centre and radii in voxels."""
    places = np.moveaxis(np.indices(SHAPE), 0, -1)
    return np.asarray((((places - center) / radii) ** 2).sum(axis=-1) <= 1)


def pair(generator: np.random.Generator) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """A prediction and a reference."""
    prediction, reference = np.zeros((2, *SHAPE), bool)
    for _ in range(int(generator.integers(0, 9))):
        center = generator.uniform(3, np.asarray(SHAPE) - 3)
        radii = generator.uniform(1.2, 5, 3)
        reference |= ball(center, radii)
        what = generator.choice(["same", "moved", "grown", "split", "missed"], p=[0.2, 0.35, 0.2, 0.1, 0.15])
        if what == "same":
            prediction |= ball(center, radii)
        elif what == "moved":
            prediction |= ball(center + generator.normal(0, 1.5, 3), radii)
        elif what == "grown":
            prediction |= ball(center, radii * generator.uniform(0.6, 1.5))
        elif what == "split":
            half = ball(center, radii)
            half[:, :, round(center[2])] = False
            prediction |= half
    for _ in range(int(generator.integers(0, 4))):
        prediction |= ball(generator.uniform(3, np.asarray(SHAPE) - 3), generator.uniform(1.2, 4, 3))
    return prediction, reference


def theirs(
    prediction: NDArray[np.bool_], reference: NDArray[np.bool_], threshold: float, matching: str
) -> Any:
    """panoptica's result for one pair of masks."""
    from panoptica import (
        ConnectedComponentsInstanceApproximator,
        InputType,
        NaiveThresholdMatching,
        Panoptica_Evaluator,
    )
    from panoptica.instance_matcher import MaxBipartiteMatching
    from panoptica.metrics import Metric

    matcher = MaxBipartiteMatching if matching == "optimal" else NaiveThresholdMatching
    evaluator = Panoptica_Evaluator(
        expected_input=InputType.SEMANTIC,
        instance_approximator=ConnectedComponentsInstanceApproximator(),
        instance_matcher=matcher(matching_metric=Metric.IOU, matching_threshold=threshold),
        instance_metrics=[Metric.IOU],
        global_metrics=[Metric.DSC],
    )
    return evaluator.evaluate(prediction.astype(np.uint8), reference.astype(np.uint8))["ungrouped"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--pairs", type=int, default=200, help="pairs of masks (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    generator = np.random.default_rng(arguments.seed)
    drawn = [pair(generator) for _ in range(arguments.pairs)]
    print("matching  IoU   pairs  one side empty  counts differ  F1 differs  Dice differs  regions  found")
    for matching in ("greedy", "optimal"):
        for threshold in THRESHOLDS:
            seen = Counter[str]()
            for number, (prediction, reference) in enumerate(drawn):
                ours = detection_score(prediction, reference, threshold, matching=matching)
                other = theirs(prediction, reference, threshold, matching)
                counts = (ours.regions.tp, ours.regions.fp, ours.regions.fn)
                if counts != (other.tp, other.fp, other.fn):
                    seen["counts"] += 1
                    print(f"  pair {number}: ours {counts}, panoptica's {(other.tp, other.fp, other.fn)}")
                seen["regions"] += counts[0] + counts[2]
                seen["found"] += counts[0]
                if not prediction.any() or not reference.any():
                    seen["empty"] += 1
                    continue
                seen["f1"] += not math.isclose(ours.regions.f1, other.rq, abs_tol=1e-9)
                seen["dice"] += not math.isclose(ours.voxels.dice, other.global_bin_dsc, abs_tol=1e-9)
            print(
                f"{matching:8} {threshold:5.2f} {len(drawn):7} {seen['empty']:15} {seen['counts']:14} "
                f"{seen['f1']:11} {seen['dice']:13} {seen['regions']:8} {seen['found']:6}"
            )


if __name__ == "__main__":
    main()
