"""Regions without a name to train on, drawn as often in each part of the body and in each patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from medlsam.errors import UsageError
from medlsam.segment.regions import draw_region
from medlsam.segment.sam_tiny.train_arrays import TrainingCase


class RegionSource:
    """Draws regions of real scans: a part of the body first, then a patient, then a scan.

    There are 140 heads and five pelvises, and one patient has six of the abdomens.
    """

    def __init__(self, cases: Sequence[TrainingCase], weights: Mapping[str, float]) -> None:
        """Sort the scans.

        Args:
            cases: to draw from; phantoms are left out.
            weights: of the regions of the body; those without a scan are left out.

        Raises:
            UsageError: scans show a region that has no weight.
        """
        self._scans: dict[str, dict[str, list[TrainingCase]]] = {}
        for case in cases:
            for region in case.regions if case.group != "phantom" else ():
                if region not in weights:
                    raise UsageError(
                        f"data.sampling.regions: no weight for {region!r}, which {case.name} shows; name "
                        "it, with 0 to draw nothing there"
                    )
                self._scans.setdefault(region, {}).setdefault(case.patient, []).append(case)
        self._names = [name for name in self._scans if weights[name] > 0]
        odds = np.array([weights[name] for name in self._names])
        self._odds = odds / odds.sum()

    def __bool__(self) -> bool:
        return bool(self._names)

    def scan(self, rng: np.random.Generator) -> TrainingCase:
        """Draw a scan."""
        patients = self._scans[self._names[rng.choice(len(self._names), p=self._odds)]]
        scans = list(patients.values())[rng.integers(len(patients))]
        return scans[rng.integers(len(scans))]

    def draw(
        self, other_plane: float, rng: np.random.Generator
    ) -> tuple[TrainingCase, NDArray[np.bool_], int, int] | None:
        """Draw a region.

        Args:
            other_plane: share of coronal and sagittal planes.
            rng: the only source of chance.

        Returns:
            The scan, the (rows, columns) mask, the axis across its plane and the index along that; None where no
            region was found in the plane.
        """
        case = self.scan(rng)
        axis = int(rng.integers(1, 3)) if rng.random() < other_plane else 0
        stack = np.moveaxis(case.image, axis, 0)
        index = int(rng.integers(len(stack)))
        spacing_v, spacing_u = (case.spacing_zyx[a] for a in range(3) if a != axis)
        mask = draw_region(np.ascontiguousarray(stack[index]), (spacing_u, spacing_v), rng)
        return None if mask is None else (case, mask, axis, index)
