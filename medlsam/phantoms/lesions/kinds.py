"""The kinds of lesions: where they grow, how large, and how they look."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One kind of lesion.

    Attributes:
        name: MSWAL's name in the singular, or one of our own.
        organs: structures of the phantom in which it grows.
        longest_mm: smallest and largest full axis.
        hu: lowest and highest HU, or None where it follows the surrounding tissue.
        contrast: ranges of HU added to the surrounding tissue, where ``hu`` is None.
        round: chance of a sphere.
        lobulated: chance of a lobulated shape; else it is an ellipsoid.
        beside: whether it lies in the fat beside the organ, not in it.
    """

    name: str
    organs: tuple[str, ...]
    longest_mm: tuple[float, float]
    hu: tuple[float, float] | None = None
    contrast: tuple[tuple[float, float], ...] = ()
    round: float = 0.3
    lobulated: float = 0.0
    beside: bool = False


_DARK, _BRIGHT = (-45.0, -25.0), (30.0, 55.0)

#: By name; the first seven are the classes of MSWAL.
KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("gallstone", ("gallbladder",), (6, 14), hu=(90, 400)),
        Kind("kidney_stone", ("kidney_left", "kidney_right"), (5, 12), hu=(400, 1100)),
        Kind("liver_tumor", ("liver",), (12, 55), contrast=(_DARK, _DARK, _BRIGHT), round=0.2, lobulated=0.4),
        Kind("kidney_tumor", ("kidney_left", "kidney_right"), (12, 32), contrast=(_DARK,), round=0.2, lobulated=0.4),
        Kind("pancreatic_cancer", ("pancreas",), (9, 22), contrast=(_DARK,), round=0.2, lobulated=0.3),
        Kind("liver_cyst", ("liver",), (8, 40), hu=(-5, 15), round=0.5),
        Kind("kidney_cyst", ("kidney_left", "kidney_right"), (8, 30), hu=(-5, 15), round=0.5),
        Kind("lung_tumor", ("lung_left", "lung_right"), (7, 40), hu=(20, 60), round=0.3, lobulated=0.4),
        Kind(
            "lymph_node",
            ("aorta", "inferior_vena_cava", "stomach", "colon", "small_bowel", "pancreas"),
            (9, 26),
            hu=(30, 80),
            round=0.1,
            beside=True,
        ),
    )
}  # fmt: skip
