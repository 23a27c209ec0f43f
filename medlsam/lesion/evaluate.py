"""Two folders of label maps against each other: F1 over regions and Dice, by class, as in MSWAL's table.

A case is in memory at a time. What counts in an empty case is said in ``medlsam.measure.detection``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, label

from medlsam.errors import MedlsamError, UsageError
from medlsam.geometry import tight_slices
from medlsam.io.checks import check_same_grid
from medlsam.lesion.label_folder import LabelFolder, find_label_folder
from medlsam.measure.detection import (
    IOU_THRESHOLD,
    DetectionScore,
    Matching,
    detection_score,
    match_regions,
    pool,
)
from medlsam.measure.summary import summarize
from medlsam.volume import to_canonical


@dataclass(frozen=True)
class EvaluateOptions:
    """How regions are counted.

    Attributes:
        threshold: least IoU of a region that is found, above 0 and at most 1.
        smallest_voxels: regions with fewer voxels are left out on both sides.
        matching: see ``medlsam.measure.detection.match_regions``.
    """

    threshold: float = IOU_THRESHOLD
    smallest_voxels: int = 1
    matching: Matching = "optimal"

    def __post_init__(self) -> None:
        match_regions(np.zeros((0, 0)), self.threshold, self.matching)  # refuses what is none
        if self.smallest_voxels < 1:
            raise UsageError(f"smallest: at least 1 voxel, got {self.smallest_voxels}")


def evaluate_lesions(
    predictions: Path | str,
    labels: Path | str,
    options: EvaluateOptions | None = None,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, Any]:
    """Score predicted label maps against true ones.

    Args:
        predictions: folder; see ``medlsam.lesion.label_folder.find_label_folder``.
        labels: folder; its cases are scored. A case without a prediction counts as predicted empty.
        options: how regions are counted.
        on_progress: called with cases done, cases in all and the case's name after each case.

    Returns:
        JSON values. ``classes`` has for each name of the labels:

        - ``dice``, ``f1``, ``precision``, ``recall``: over the cases that have a value ``mean``, ``std`` and ``n``;
        - ``pooled``: the same figures of the summed counts, and ``tp``, ``fp``, ``fn``;
        - ``both_empty``, ``only_labels``, ``only_prediction``: cases by which masks have a voxel.

        ``mean`` has the mean over the classes of each figure, with spread and number. ``per_case`` has the figures of
        every case, None where there is none. ``missing`` names the cases without a prediction, ``not_scored`` the
        predictions without labels, ``failed`` the cases that could not be scored, with the reason; they are in no
        figure. ``warnings`` says what else a reader should know.

    Raises:
        UsageError: no such folder; no names of the values on either side, or one is nnU-Net's ``ignore``; no case has
            a prediction; an option is wrong.
        TemplateError: a table of names is wrong.
    """
    options = options or EvaluateOptions()
    predicted, true = find_label_folder(predictions), find_label_folder(labels)
    names, own_names, warnings = _names(predicted, true)
    missing = [case for case in true.files if case not in predicted.files]
    if len(missing) == len(true.files):
        raise UsageError(
            f"{predicted.path}: no prediction of any of the {len(missing)} cases of {true.path}, the first is "
            f"{missing[0]!r}; here is {next(iter(predicted.files))!r}"
        )
    scores: dict[str, dict[str, DetectionScore]] = {}
    failed: dict[str, str] = {}
    for done, case in enumerate(true.files, start=1):
        try:
            scores[case] = _score(case, predicted, true, names, own_names, options)
        except (MedlsamError, OSError, RuntimeError, ValueError) as error:
            failed[case] = f"{type(error).__name__}: {error}"
        if on_progress is not None:
            on_progress(done, len(true.files), case)
    classes = {name: _class(name, scores) for name in names.values()}
    return {
        "cases": len(true.files),
        "threshold": options.threshold,
        "smallest_voxels": options.smallest_voxels,
        "matching": options.matching,
        "classes": classes,
        "mean": _mean(list(classes.values())),
        "per_case": {
            case: {name: _figures(score) for name, score in own.items()} for case, own in scores.items()
        },
        "missing": missing,
        "not_scored": [case for case in predicted.files if case not in true.files],
        "failed": failed,
        "warnings": warnings,
    }


def _names(predicted: LabelFolder, true: LabelFolder) -> tuple[dict[int, str], dict[int, str], list[str]]:
    """Names of the labels' values, names of the predictions' values, and warnings."""
    if true.names is None and predicted.names is None:
        raise UsageError(
            f"names of the values are needed: neither {true.path} nor {predicted.path} has a labels.json or "
            'dataset.json in it or beside it; write {"liver tumor": 1, ...} as labels.json beside the labels'
        )
    classes = predicted if true.names is None else true
    if "ignore" in (classes.names or {}).values():
        raise UsageError(
            f"{classes.names_file}: 'ignore' marks voxels that nnU-Net leaves out, and here it would be scored as a "
            "class; give labels without it"
        )
    if true.names is None or predicted.names is None:
        names = dict(true.names or predicted.names or {})
        return names, names, []
    warnings = []
    unknown = sorted(set(predicted.names.values()) - set(true.names.values()))
    if unknown:
        warnings.append(f"not scored, since {true.names_file} does not name it: {', '.join(unknown)}")
    never = sorted(set(true.names.values()) - set(predicted.names.values()))
    if never:
        warnings.append(f"never predicted, since {predicted.names_file} does not name it: {', '.join(never)}")
    if len(never) == len(true.names):
        raise UsageError(
            f"{predicted.names_file} and {true.names_file} have no name in common: {', '.join(unknown)} against "
            f"{', '.join(never)}"
        )
    return dict(true.names), dict(predicted.names), warnings


def _score(
    case: str,
    predicted: LabelFolder,
    true: LabelFolder,
    names: Mapping[int, str],
    own_names: Mapping[int, str],
    options: EvaluateOptions,
) -> dict[str, DetectionScore]:
    reference = true.read(case, names)
    if case in predicted.files:
        prediction = predicted.read(case, own_names)
        if not reference.grid.matches(prediction.grid):
            # The same voxels may be stored in another order.
            reference, prediction = to_canonical(reference), to_canonical(prediction)
            check_same_grid(reference, prediction)
        array = prediction.array
    else:
        array = np.zeros_like(reference.array)
    own = {name: value for value, name in own_names.items()}
    parts: dict[str, list[DetectionScore]] = {name: [] for name in names.values()}
    for there, truth in _blobs(array, reference.array):
        values, true_values = set(np.unique(there)), set(np.unique(truth))
        for value, name in names.items():
            if value in true_values or own.get(name, 0) in values - {0}:
                masks = there == own[name] if name in own else np.zeros(there.shape, bool), truth == value
                parts[name].append(
                    detection_score(*masks, options.threshold, options.smallest_voxels, options.matching)
                )
    return {name: pool(scores) for name, scores in parts.items()}


def _blobs(
    prediction: NDArray[np.unsignedinteger], reference: NDArray[np.unsignedinteger]
) -> Iterator[tuple[NDArray[np.unsignedinteger], NDArray[np.unsignedinteger]]]:
    """Both label maps in the neighbourhood of each connected part of what is labelled in either.

    No region reaches from one to another, so each may be scored by itself: a scan is large, and lesions are small.
    """
    foreground = (prediction != 0) | (reference != 0)
    if not foreground.any():
        return
    crop = tight_slices(foreground)
    numbered, _ = label(foreground[crop], np.ones((3, 3, 3), bool))
    for number, place in enumerate(find_objects(numbered), start=1):
        outside = numbered[place] != number
        parts = [array[crop][place].copy() for array in (prediction, reference)]
        for part in parts:
            part[outside] = 0
        yield parts[0], parts[1]


def _figures(score: DetectionScore) -> dict[str, Any]:
    """The figures of a score as JSON values; None where there is none."""
    regions = score.regions
    values = {
        "dice": score.voxels.dice,
        "f1": regions.f1,
        "precision": regions.precision,
        "recall": regions.recall,
    }
    figures: dict[str, Any] = {
        key: None if math.isnan(value) else round(value, 4) for key, value in values.items()
    }
    return figures | {"tp": regions.tp, "fp": regions.fp, "fn": regions.fn}


def _class(name: str, scores: Mapping[str, Mapping[str, DetectionScore]]) -> dict[str, Any]:
    own = [case[name] for case in scores.values()]
    empty = [(not score.voxels.prediction, not score.voxels.reference) for score in own]
    return {
        "dice": summarize(score.voxels.dice for score in own),
        "f1": summarize(score.regions.f1 for score in own),
        "precision": summarize(score.regions.precision for score in own),
        "recall": summarize(score.regions.recall for score in own),
        "both_empty": empty.count((True, True)),
        "only_labels": empty.count((True, False)),
        "only_prediction": empty.count((False, True)),
        "pooled": _figures(pool(own)),
    }


def _mean(classes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over the classes, of the means over cases and of the pooled figures."""
    keys = ("dice", "f1", "precision", "recall")
    means = {key: summarize(_number(own[key]["mean"]) for own in classes) for key in keys}
    return means | {
        "pooled": {key: summarize(_number(own["pooled"][key]) for own in classes) for key in keys}
    }


def _number(value: float | None) -> float:
    return math.nan if value is None else value
