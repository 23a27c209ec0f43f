"""How often the agreement of an annotation session names the face that was marked wrongly, and one that was not.

Sets of phantoms (abdomens, six structures, marked by six points each) are tried as they are, and with one face of every
structure of one scan moved by some centimetres, each way. None of these people helped to choose the rule.

``python benchmarks/viewer/agreement.py``
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from medlsam.geometry import FACES, ExtremePoints
from medlsam.localize.build_templates import Template, build_templates
from medlsam.localize.confidence.leave_one_out import tried
from medlsam.localize.localizer import Localizer, load_localizer
from medlsam.phantoms import phantom
from medlsam.viewer.annotate.agreement import agreement_of

STRUCTURES = ("liver", "spleen", "kidney_left", "kidney_right", "stomach", "pancreas")
NAMES = dict(enumerate(STRUCTURES, start=1))
SEEDS = range(101, 113)
#: (template, structure, face) of marks that were moved.
Moved = set[tuple[str, str, str]]
#: A structure keeps at least this edge when a face is moved inwards, mm.
_LEAST_EDGE_MM = 15.0


@dataclass
class Count:
    """What was named in sets of one kind."""

    structures: int = 0
    right: int = 0
    wrong: int = 0


def draw_people(localizer: Localizer, seeds: Sequence[int]) -> list[Template]:
    """Phantoms marked by the extreme points of their true masks, embedded once."""
    people = []
    for seed in seeds:
        made = phantom(seed, (5.0, 5.0, 5.0), (250.0, 460.0))
        values = {name: value for value, name in made.names.items() if name in STRUCTURES}
        masks = {name: made.labels.array == value for name, value in values.items()}
        points = {
            name: ExtremePoints.from_mask(mask, made.labels.grid)
            for name, mask in masks.items()
            if mask.any()
        }
        people.append(
            Template(f"person {seed}", made.image, points=points, embedding=localizer.embed(made.image))
        )
    return people


def moved(template: Template, by_mm: float, generator: np.random.Generator) -> tuple[Template, Moved]:
    """One face of each structure moved, outwards or inwards."""
    points, what = {}, set()
    for name, marks in (template.points or {}).items():
        face, outwards = int(generator.integers(6)), bool(generator.integers(2))
        array, axis = marks.array, face // 2
        if not outwards and marks.box.size[axis] < by_mm + _LEAST_EDGE_MM:
            outwards = True
        array[face, axis] += by_mm * (1 if (face % 2 == 1) == outwards else -1)
        x = [(float(a), float(b), float(c)) for a, b, c in array]
        points[name] = ExtremePoints(tuple(x))
        what.add((template.name, name, FACES[face]))
    return replace(template, points=points), what


def measure(localizer: Localizer, people: list[Template], size: int, by_mm: float, sets: int) -> Count:
    """Count what is named in sets of ``size`` people."""
    generator, count = np.random.default_rng(size), Count()
    for _ in range(sets):
        chosen = [people[n] for n in generator.choice(len(people), size, replace=False)]
        wrong: Moved = set()
        if by_mm:
            place = int(generator.integers(size))
            chosen[place], wrong = moved(chosen[place], by_mm, generator)
        templates = build_templates(localizer, chosen, NAMES, calibrate=False)
        embeddings = {one.name: one.embedding for one in chosen if one.embedding is not None}
        whole, trials, table = tried(templates, embeddings)
        found = agreement_of(whole, trials, table, [one.name for one in chosen], STRUCTURES).disagreements
        named = {(each.case, each.structure, each.face) for each in found}
        count.structures += len(whole.structures)
        count.right += len(named & wrong)
        count.wrong += len(named - wrong)
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=15, help="of each kind")
    sets = parser.parse_args().sets
    localizer = load_localizer("medlam-tiny", "cpu")
    people = draw_people(localizer, SEEDS)
    print(f"{sets} sets of each kind, {len(STRUCTURES)} structures; named, of all structures:")
    print("scans  moved by  the moved face  another one")
    for size in (3, 5):
        for by_mm in (0.0, 20.0, 30.0, 40.0):
            count = measure(localizer, people, size, by_mm, sets)
            right = f"{count.right}/{count.structures}" if by_mm else "–"
            print(f"{size:5d}  {by_mm:5.0f} mm  {right:>14}  {count.wrong}/{count.structures}", flush=True)


if __name__ == "__main__":
    main()
