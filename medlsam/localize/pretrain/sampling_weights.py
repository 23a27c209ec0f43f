"""How often each scan of a pool is drawn, so that the largest collection does not decide what is learnt.

Nor does the patient with most scans, where names tell patients.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: Collection of a scan, and the region of the body that it shows.
Group = tuple[str, str]
#: The number of the source, and the patient there.
Patient = tuple[int, str]


def balanced_weights(
    weights: NDArray[np.float64], groups: Sequence[Group | None], balance: float
) -> NDArray[np.float64]:
    """Make the groups' shares of the draws more equal; within a group the ratios stay.

    A group with the share s of the weights gets a share in proportion to ``s ** (1 - balance)``. Scans without a group
    (such as phantoms) keep their weights.

    Args:
        weights: (N,) of the sources.
        groups: N groups.
        balance: 0 leaves the weights, 1 draws all groups equally often, 0.5 takes the root of their shares.

    Returns:
        (N,) of the same sum.
    """
    known = [i for i, group in enumerate(groups) if group is not None]
    names = {name: n for n, name in enumerate(dict.fromkeys(groups[i] for i in known))}
    if not names or balance == 0:
        return weights
    which = np.array([names[groups[i]] for i in known])
    shares = np.bincount(which, weights[known], len(names))
    # A group whose weights are all 0 was switched off; it stays off.
    wanted = np.where(shares > 0, shares, 1) ** (1 - balance) * (shares > 0)
    factors = wanted / wanted.sum() * shares.sum() / np.where(shares > 0, shares, 1)
    balanced = weights.astype(np.float64)
    balanced[known] *= factors[which]
    return balanced


def patient_weights(weights: NDArray[np.float64], patients: Sequence[Patient | None]) -> NDArray[np.float64]:
    """Make the patients of a source equal, and the scans of a patient.

    Args:
        weights: (N,) of the scans.
        patients: N patients; scans without one keep their weights.

    Returns:
        (N,); those of a source have the same sum.
    """
    scans = Counter(patient for patient in patients if patient is not None)
    people = Counter(source for source, _ in scans)
    shares: dict[int, float] = defaultdict(float)
    for weight, patient in zip(weights, patients, strict=True):
        if patient is not None:
            shares[patient[0]] += float(weight)
    return np.array(
        [
            weight if patient is None else shares[patient[0]] / people[patient[0]] / scans[patient]
            for weight, patient in zip(weights, patients, strict=True)
        ],
        dtype=np.float64,
    )
