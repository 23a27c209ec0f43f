"""Are these values CT in HU? Pictures, other modalities and shifted HU are told apart by their histogram."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medlsam.errors import HounsfieldError

_SAMPLE = 2_000_000
#: Fat and soft tissue without the extremes, HU.
_SOFT = (-150, 200)
#: What scanners add to store HU without a sign; some software adds 1000.
_OFFSET = 1024
#: HU that some voxels of every whole scan lie below: air, lung, gas. Scans of soft tissue alone have fat at -150.
_AIR = -300
#: A single value of tissue that fills more of a scan was put there.
_MUCH = 0.10


def check_ct(array: NDArray[Any], path: Path) -> None:
    """Refuse what does not look like CT in HU: air or fat below 0, soft tissue around 0.

    Padding (one value below all others) says nothing of the scale, so it is not taken for air.

    Args:
        array: (Z, Y, X), finite.
        path: for the message.

    Raises:
        HounsfieldError: saying what was seen.
    """
    low, high = float(array.min()), float(array.max())
    if low == high:
        raise HounsfieldError(f"{path}: every value is {low:g}; the scan is empty or damaged")
    step = max(1, round((array.size / _SAMPLE) ** (1 / 3)))
    sample = array[::step, ::step, ::step].ravel()
    seen = f"{path}: not CT in HU: values {low:g} to {high:g}, median {float(np.median(sample)):g}; "
    if low > -20 or float((sample < -50).mean()) < 5e-4:
        raise HounsfieldError(seen + _without_negatives(sample, low, high))
    if low >= -128 and high <= 127:
        raise HounsfieldError(
            seen + "this looks like an 8-bit picture stored with a sign, whose HU are lost; "
            "give the original scan"
        )
    if high > 40000:
        raise HounsfieldError(seen + "no material reaches that value; check slope and intercept")
    shift = recognised_shift(sample)
    if shift > 0:
        raise HounsfieldError(
            seen
            + "soft tissue lies near 1024, and only padding is dark: the rescale intercept was not applied; "
            "subtract 1024 from all but the padding"
        )
    if shift < 0 or _share(sample, -200, 300) < 1e-3:
        raise HounsfieldError(
            seen
            + f"{100 * _share(sample, -200, 300):.2g} % of the voxels lie between -200 and 300 HU, where "
            "soft tissue is; check slope and intercept (was 1024 subtracted twice?)"
        )


def lacks_air(array: NDArray[Any]) -> str:
    """What is said of a scan without any air, which no scanner makes; empty where there is some.

    Args:
        array: (Z, Y, X) HU, finite.
    """
    sample = _sampled(array)
    low, high = float(sample.min()), float(sample.max())
    if low <= _AIR:
        return ""
    ends = ", ".join(f"{100 * float((sample == end).mean()):.0f} % are {end:g}" for end in (low, high))
    return (
        f"no voxel is air: values go from {low:g} to {high:g} ({ends}); the scan looks clipped to a window or cleaned, "
        "and results on it cannot be trusted; give the scan as it was reconstructed"
    )


def is_masked(array: NDArray[Any]) -> str:
    """What is said of a scan of which much has one value of tissue; empty where that is not so.

    Args:
        array: (Z, Y, X) HU, finite, padding made air.
    """
    values, counts = np.unique(_sampled(array), return_counts=True)
    common, share = float(values[counts.argmax()]), float(counts.max() / counts.sum())
    if common <= _AIR or share <= _MUCH:
        return ""
    return (
        f"{100 * share:.0f} % of the voxels have the one value {common:g} HU, which is that of tissue: the scan was "
        "cleaned or masked, and results on it cannot be trusted; give the scan as it was reconstructed"
    )


def _sampled(array: NDArray[Any]) -> NDArray[Any]:
    step = max(1, round((array.size / _SAMPLE) ** (1 / 3)))
    return np.asarray(np.rint(array[::step, ::step, ::step].ravel()))


def recognised_shift(sample: NDArray[Any]) -> int:
    """+1 where values lie about 1000 above HU, -1 where they lie about 1000 below, 0 where that is not plain.

    In CT, voxels with the values of dense bone are few beside those of soft tissue, and some of fat, lung or air
    are there. A scan that is 1024 too high has many at 874 to 1224, fewer on either side, and next to none below
    -50; one that is 1024 too low has more below -1100, where no CT has any, than at soft tissue. The limits leave
    a factor of two or more to the real scans that they were tried on (tests/pipeline/test_hard_input.py).

    Args:
        sample: voxels of a scan, any shape.
    """
    sample = sample[~np.isin(sample, _fill_values(sample))]
    if not sample.size:
        return 0
    low, high = _SOFT
    raised = _share(sample, low + _OFFSET, high + _OFFSET)
    dark, beside = _share(sample, -np.inf, -50), _share(sample, low + _OFFSET - 350, low + _OFFSET - 1)
    if raised > 0.05 and dark < 0.5 * raised and beside < 0.5 * raised:
        return 1
    below = _share(sample, -np.inf, -1100)
    return -1 if below > 0.01 and below > 2 * _share(sample, low, high) else 0


def _fill_values(sample: NDArray[Any]) -> NDArray[Any]:
    """Up to two values below -50 that each fill 1 % of the voxels: padding, and air that was clipped."""
    values, counts = np.unique(sample[sample < -50], return_counts=True)
    common = np.argsort(counts)[::-1][:2]
    return values[common[counts[common] >= 0.01 * sample.size]]


def _share(sample: NDArray[Any], low: float, high: float) -> float:
    return float(((sample >= low) & (sample <= high)).mean())


def _without_negatives(sample: NDArray[Any], low: float, high: float) -> str:
    if high - low <= 30:
        return "this looks normalised; give the original scan"
    if low >= 0 and high <= 255:
        return "this looks like an 8-bit picture, already windowed, whose HU are lost; give the original scan"
    if _share(sample, 900, 1200) > 0.02:
        return "soft tissue seems to lie near 1024: the rescale intercept was not applied; subtract 1024"
    return "CT has air (-1000) or fat (-100); this looks like MR or another modality, or a derived image"
