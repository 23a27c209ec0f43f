"""Which scans train the student, and which judge it: no patient does both."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medlsam.errors import UsageError
from medlsam.segment.distill.labels import TaughtScan
from medlsam.segment.finetune.labelled import check_apart


def split(
    scans: Sequence[TaughtScan], held_out: Sequence[str] | None, share: float, seed: int
) -> tuple[list[TaughtScan], list[TaughtScan]]:
    """Split scans by patient into those that train and those that judge.

    Args:
        scans: with masks that can be learned.
        held_out: names of those that judge; None draws them.
        share: of the patients, drawn at random; at least one.
        seed: of the draw.

    Raises:
        UsageError: nobody is left on one side, or a patient would be on both.
    """
    if held_out is None:
        patients = sorted({scan.patient for scan in scans})
        if len(patients) < 2:
            raise UsageError(
                f"distillation needs usable scans of two patients, one to train on and one to judge by; there "
                f"{'is' if len(patients) == 1 else 'are'} {', '.join(patients) or 'none'}; add another patient's scan"
            )
        count = min(max(1, round(share * len(patients))), len(patients) - 1)
        drawn = np.random.default_rng([seed, 2]).permutation(patients)[:count]
        held_out = [scan.name for scan in scans if scan.patient in drawn]
    judging = [scan for scan in scans if scan.name in held_out]
    training = [scan for scan in scans if scan.name not in held_out]
    check_apart({scan.patient for scan in judging}, {scan.patient for scan in training})
    for side, what in ((judging, "judge by"), (training, "train on")):
        if not side:
            raise UsageError(
                f"held_out: no usable scan is left to {what}; usable are {', '.join(s.name for s in scans)}; hold out "
                "others, or add scans"
            )
    return training, judging
