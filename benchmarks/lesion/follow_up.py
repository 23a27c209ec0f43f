"""Are lesions followed up right? Matches of two visits of phantom people, whose truth is known.

    python benchmarks/lesion/follow_up.py

Each person lies and breathes differently at the two visits, and is scanned with another spacing and noise; of two to
eight lesions some grow, some shrink, some vanish and some are new. A pair of visits is right where every lesion is: the
pairs, the vanished and the new ones. Three ways to say where a lesion of the first visit lies in the second scan are
compared by their distance from the truth and by the matches that follow: votes of latent positions alone, the alignment
of the two scans around the lesion, and with the shell around it searched for (what ``medlsam lesion follow-up`` does).
Scans are coarse (4 x 4 x 5 mm, from the pelvis to the heart), which is what the localizer works on. 300 pairs
take some 7 minutes of one core. What was looked at while this was made are the people from 0 to 79 (``--first 0``); the
default are others.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from benchmarks.common import answer, command, options, progress, spread
from medlsam.lesion.recist.anatomy import AnatomyMap, map_anatomy
from medlsam.lesion.recist.lesion import Kind, Lesion
from medlsam.lesion.recist.match import BORDER_MM, Matching, match_mapped
from medlsam.localize.localizer import load_localizer
from medlsam.localize.search.votes import coarse_consensus
from medlsam.measure.lesions import measure_lesions
from medlsam.phantoms.lesions import LesionPhantom, lesion_visits

SPACING, REGION = (4.0, 4.0, 5.0), (280.0, 560.0)
WAYS = ("votes of latent positions", "alignment around the lesion", "and its shell searched for")


def lesions_of(visit: LesionPhantom) -> list[Lesion]:
    """The lesions as a mask shows them, with their type but without their organ."""
    nodes = {lesion.id for lesion in visit.lesions if lesion.beside}
    measured = measure_lesions(visit.lesion_labels, least_voxels=1, instances="given")
    return [Lesion(own, Kind("n" if own.id in nodes else "m")) for own in measured]


def places(anatomy: AnatomyMap, centres: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """(N, 3) LPS mm in the second scan, by each way."""
    votes, _ = coarse_consensus(anatomy.target, anatomy.source.latents(centres))
    assert anatomy.alignment is not None, "a network that aligns scans"
    around = [anatomy.alignment.around(centre).apply(centre) for centre in centres]
    found = (votes.double().numpy(), np.stack(around), anatomy.apply(centres))
    return dict(zip(WAYS, found, strict=True))


def wrong(matching: Matching, before: list[Lesion], after: list[Lesion]) -> tuple[int, int, int]:
    """How many lesions are said to be what they are not, how many of them were named ambiguous, how many there are."""
    first, second = [own.id for own in before], [own.id for own in after]
    truth = {(first.index(i), second.index(i)) for i in set(first) & set(second)}
    found = {(pair.before, pair.after) for pair in matching.pairs}
    gone = set(matching.vanished) | set(matching.out_of_view)
    bad = len(truth - found) + len(found - truth)
    bad += len({first.index(i) for i in set(first) - set(second)} - gone)
    bad += len({second.index(i) for i in set(second) - set(first)} - set(matching.new))
    said = sum(bool(pair.ambiguous) for pair in matching.pairs if (pair.before, pair.after) not in truth)
    return bad, said, len(set(first) | set(second))


def main() -> None:
    parser = options(__doc__, real=False)
    parser.add_argument("--pairs", type=int, default=300, help="pairs of visits (%(default)s)")
    parser.add_argument("--first", type=int, default=1000, help="seed of the first person (%(default)s)")
    given = parser.parse_args()
    localizer = load_localizer(given.localizer, given.device)
    off: dict[str, list[float]] = defaultdict(list)
    counts: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    ambiguous = 0
    kinds: dict[str, int] = defaultdict(int)
    for number in range(given.pairs):
        seed = given.first + number
        many = int(np.random.default_rng(seed).integers(2, 9))
        visits = lesion_visits(seed, 2, many, spacing_xyz=SPACING, region=REGION)
        before, after = (lesions_of(visit) for visit in visits)
        if not before:
            continue
        anatomy = map_anatomy(*(localizer.embed(visit.image) for visit in visits))
        truth = {lesion.id: np.asarray(lesion.center) for lesion in visits[1].lesions}
        centres = np.array([own.measured.center for own in before])
        for way, mapped in places(anatomy, centres).items():
            matching = match_mapped(before, mapped, anatomy.shows(mapped, BORDER_MM), after)
            counts[way].append(wrong(matching, before, after))
            off[way] += [
                float(np.linalg.norm(place - truth[own.id]))
                for place, own in zip(mapped, before, strict=True)
                if own.id in truth
            ]
        ambiguous += sum(bool(pair.ambiguous) for pair in matching.pairs)
        for what in ("pairs", "vanished", "new", "out_of_view", "splits", "merges"):
            kinds[what] += len(getattr(matching, what))
        if counts[WAYS[-1]][-1][0]:
            progress(f"seed {seed}: {counts[WAYS[-1]][-1][0]} wrong: {matching}")
        if number % 20 == 19:
            progress(
                f"{number + 1} pairs: wrong {[sum(bad > 0 for bad, _, _ in own) for own in counts.values()]}"
            )
    answer(*tables(off, counts, ambiguous, dict(kinds)), given.json)


def tables(
    off: dict[str, list[float]],
    counts: dict[str, list[tuple[int, int, int]]],
    ambiguous: int,
    kinds: dict[str, int],
) -> tuple[list[Table], dict[str, Any]]:
    """What is printed, and the figures behind it."""
    table = Table(title="lesions of two visits, matched")
    for head in (
        "place in the second scan by",
        "off mm",
        "98 % within",
        "lesions wrong",
        "visits right",
        "95 %",
    ):
        table.add_column(head, justify="left" if head.startswith("place") else "right")
    document: dict[str, Any] = {"ambiguous_pairs": ambiguous, "found": kinds, "ways": {}}
    for way, own in counts.items():
        right, n = sum(not bad for bad, _, _ in own), len(own)
        share, low, high = right / n, *_interval(right, n)
        bad, total = sum(bad for bad, _, _ in own), sum(count for _, _, count in own)
        table.add_row(
            way, spread(off[way], 1), f"{np.percentile(off[way], 98):.1f}", f"{bad} of {total}",
            f"{right} of {n} ({100 * share:.1f} %)", f"{100 * low:.1f} to {100 * high:.1f} %",
        )  # fmt: skip
        document["ways"][way] = {
            "off_mm": {"n": len(off[way]), "mean": float(np.mean(off[way])), "p98": float(np.percentile(off[way], 98))},
            "lesions_wrong": bad, "lesions": total, "visits_right": right, "visits": n,
            "wrong_but_named_ambiguous": sum(said for _, said, _ in own),
        }  # fmt: skip
    table.caption = f"{ambiguous} pairs named ambiguous; " + ", ".join(
        f"{n} {what}" for what, n in kinds.items()
    )
    return [table], document


def _interval(right: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    z = 1.96
    middle = (right + z * z / 2) / (n + z * z)
    half = z * math.sqrt(right * (n - right) / n + z * z / 4) / (n + z * z)
    return middle - half, middle + half


if __name__ == "__main__":
    command(main)
