"""Is the organ of a lesion right? 500 phantom lesions with known organ.

    python benchmarks/lesion/organ.py [--lesions 500] [--spacing 3]

Phantoms of chest and upper abdomen with lesions of all kinds; nodes lie beside their organ, all others in it. The organ
is found three times: with the phantom's labels as they are (the organ goes on under a lesion), with every lesion cut
out of them (as organ masks of automatic methods often are), and with a lesion mask that is one voxel too large, on the
labels with holes. Printed are the share that is right with its 95 % interval (Wilson), by kind, and how often a second
organ is named. About a minute of one core.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table
from scipy.ndimage import binary_dilation

from benchmarks.common import answer, command, progress
from medlsam.lesion.propagate.organ import LesionOrgan, Organs, lesion_organ
from medlsam.phantoms.lesions import lesion_phantom

WAYS = ("organ under lesion", "lesion cut out", "cut out, mask 1 voxel larger")
#: What wraps the body or hangs in it is nobody's organ; lesions are not asked for it.
NO_ORGANS = ("skin", "fat", "muscle", "body", "table")


def interval(right: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share."""
    share = right / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return middle - half, middle + half


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--lesions", type=int, default=500, help="how many (%(default)s)")
    parser.add_argument("--spacing", type=float, default=3.0, help="voxel size, mm (%(default)s)")
    parser.add_argument("--each", type=int, default=10, help="lesions of a phantom (%(default)s)")
    parser.add_argument("--first-seed", type=int, default=1000, help="of the phantoms (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    arguments = parser.parse_args()
    right: dict[str, dict[str, list[bool]]] = {way: defaultdict(list) for way in WAYS}
    named: dict[str, int] = defaultdict(int)
    wrong: list[dict[str, object]] = []
    seed, count = arguments.first_seed, 0
    while count < arguments.lesions:
        made = lesion_phantom(seed, arguments.each, spacing_xyz=(arguments.spacing,) * 3)
        names = {v: name for v, name in made.names.items() if name not in NO_ORGANS}
        holes = np.where(made.lesion_labels.array > 0, 0, made.labels.array)
        whole, spared = (Organs(labels, names, made.image.grid) for labels in (made.labels.array, holes))
        for lesion in made.lesions:
            mask = made.lesion_labels.array == lesion.id
            if count >= arguments.lesions or not mask.any():
                continue
            count += 1
            found = dict(
                zip(
                    WAYS,
                    (
                        lesion_organ(mask, whole),
                        lesion_organ(mask, spared),
                        lesion_organ(binary_dilation(mask), spared),
                    ),
                    strict=True,
                )
            )
            for way, own in found.items():
                right[way][lesion.kind].append(own.organ == lesion.organ)
                named[way] += bool(own.ambiguous_with)
                if own.organ != lesion.organ:
                    wrong.append(_wrong(seed, way, lesion.kind, lesion.organ, own))
        progress(f"seed {seed}: {count} lesions")
        seed += 1
    answer(
        [_table(right, named)],
        {"n": count, "seeds": [arguments.first_seed, seed - 1], "right": right, "wrong": wrong},
        arguments.json,
    )
    for entry in wrong[:20]:
        progress(str(entry))


def _wrong(seed: int, way: str, kind: str, organ: str, own: LesionOrgan) -> dict[str, object]:
    return {"seed": seed, "way": way, "kind": kind, "truth": organ, "found": own.to_dict()}


def _table(right: dict[str, dict[str, list[bool]]], named: dict[str, int]) -> Table:
    table = Table(title="lesions whose organ is right", box=SIMPLE_HEAD)
    table.add_column("kind")
    for way in WAYS:
        table.add_column(way, justify="right")
    for kind in sorted(right[WAYS[0]]):
        table.add_row(kind, *(f"{sum(right[way][kind])} of {len(right[way][kind])}" for way in WAYS))
    cells = []
    for way in WAYS:
        every = [one for own in right[way].values() for one in own]
        low, high = interval(sum(every), len(every))
        cells.append(f"{sum(every)} of {len(every)}: {np.mean(every):.1%} ({low:.1%} to {high:.1%})")
    table.add_row("all (95 % interval)", *cells)
    table.add_row("a second organ named", *(str(named[way]) for way in WAYS))
    return table


if __name__ == "__main__":
    command(main)
