"""Which lesions are followed by their diameter: at most five, at most two in an organ."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from medlsam.lesion.recist.lesion import Lesion
from medlsam.lesion.recist.measurable import measurability_of

MOST_TARGETS, MOST_PER_ORGAN = 5, 2


def choose_targets(
    lesions: Sequence[Lesion],
    slice_mm: float | None = None,
    most: int = MOST_TARGETS,
    most_per_organ: int = MOST_PER_ORGAN,
) -> list[Lesion]:
    """Choose the target lesions of a baseline.

    RECIST 1.1 asks for large lesions that stand for all organs involved: so every organ's largest lesion comes first,
    in order of size, and then every organ's second. Nodes are one organ, and so are paired ones (both lungs), lobes
    and all bones. Lesions of which nobody says the organ count as of one: of them there are at most two. What the scan
    cuts off is no target: nobody knows its diameter.

    Args:
        lesions: of the baseline.
        slice_mm: thickness of the slices; their distance by default.
        most: of all.
        most_per_organ: of one organ.

    Returns:
        The targets, the largest first.
    """
    by_organ: dict[str, list[Lesion]] = defaultdict(list)
    for lesion in sorted(lesions, key=lambda own: (-own.diameter_mm, own.id)):
        if measurability_of(lesion, slice_mm) == "measurable" and not lesion.measured.cut_off:
            by_organ[lesion.kind.organ].append(lesion)
    chosen: list[Lesion] = []
    for rank in range(most_per_organ):
        # Organs come in the order of their largest lesion; their lesions of one rank by size.
        same = [own[rank] for own in by_organ.values() if len(own) > rank]
        chosen += sorted(same, key=lambda own: (-own.diameter_mm, own.id))
    return sorted(chosen[:most], key=lambda own: (-own.diameter_mm, own.id))
