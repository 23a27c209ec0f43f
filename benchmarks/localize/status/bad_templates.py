"""A bad template planted among good ones: how often `template build` names it, and how often it accuses a good one.

    python benchmarks/localize/status/bad_templates.py [--cases FILE.json:key] [--scans N] [--trials N] [--templates N]
        [--json FILE]

Each trial draws template scans at random from the listed head-neck cases that have all seven structures, spoils one of
them in one way, and asks for the diagnosis; good sets are left as they are. Named: the right template, alone, with at
least one of the structures that were spoilt. Right kind: also for the right reason. Others accused: a good template was
named in the same trial. The default cases are of the `pretrain` split (for choosing thresholds; report on others with
`--cases`). A scan is embedded once, and once more for every way to flip it; what was located once is kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.table import Table
from scipy import ndimage

from benchmarks.common import SeenOnce, answer, command, evenly, options, progress
from medlsam.evaluation.references import find_references
from medlsam.io.label_names import read_case_list
from medlsam.localize.build_templates import Template, build_templates
from medlsam.localize.confidence.leave_one_out import CrossCandidates, cross_table
from medlsam.localize.confidence.outliers import Diagnosis, diagnose
from medlsam.localize.localizer import load_localizer
from medlsam.localize.search.candidate import Candidate
from medlsam.localize.search.consensus import consensus
from medlsam.localize.search.options import SearchOptions
from medlsam.localize.templates.anchors import Anchors
from medlsam.localize.templates.template_set import StructureTemplate, TemplateSet
from medlsam.pipeline.templates import choose_templates, read_templates
from medlsam.volume import Image, LabelMap, to_canonical

PAIR = ("LeftParotid", "RightParotid")
#: Shifts of labels, mm: from about half a parotid's width on.
SHIFT_MM = (20.0, 40.0)
#: A shifted structure must keep this share of its voxels.
KEPT = 0.8

Masks = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Spoilt:
    """A support that was spoilt: what it is now, the structures that are wrong, and the kinds that name it rightly."""

    template: Template
    structures: tuple[str, ...]
    kinds: tuple[str, ...]


class Spoiler:
    """The ways to spoil a support. Flipped scans are kept, so that each is embedded once.

    Attributes:
        values: structure to label value.
    """

    def __init__(self, values: Mapping[str, int]) -> None:
        self.values = dict(values)
        self._flipped: dict[tuple[Image, int], Image] = {}

    def _labelled(self, template: Template, array: Masks) -> Template:
        assert template.labels is not None
        return replace(template, labels=LabelMap(array, template.labels.grid))

    def _array(self, template: Template) -> Masks:
        assert template.labels is not None
        return template.labels.array.copy()

    def _two(self, generator: np.random.Generator) -> tuple[str, str]:
        """Two structures that are not each other's mirror image."""
        while True:
            one, other = (str(name) for name in generator.choice(sorted(self.values), 2, replace=False))
            if {one, other} != set(PAIR):
                return one, other

    def _exchange(self, template: Template, one: str, other: str) -> Template:
        array = self._array(template)
        first, second = array == self.values[one], array == self.values[other]
        array[first], array[second] = self.values[other], self.values[one]
        return self._labelled(template, array)

    def wrong_label(self, template: Template, generator: np.random.Generator) -> Spoilt:
        """Two structures have each other's label."""
        pair = self._two(generator)
        return Spoilt(self._exchange(template, *pair), pair, ("exchanged",))

    def left_right(self, template: Template, generator: np.random.Generator) -> Spoilt:
        """The parotids have each other's label."""
        return Spoilt(self._exchange(template, *PAIR), PAIR, ("left_right",))

    def another_organ(self, template: Template, generator: np.random.Generator) -> Spoilt:
        """One structure's label lies on another structure, which is not labelled itself."""
        one, other = self._two(generator)
        array = self._array(template)
        array[array == self.values[one]] = 0
        array[array == self.values[other]] = self.values[one]
        return Spoilt(self._labelled(template, array), (one,), ("another_organ",))

    def _shift(self, template: Template, organs: Sequence[str], generator: np.random.Generator) -> Spoilt:
        assert template.labels is not None
        array, spacing = self._array(template), np.asarray(template.labels.grid.spacing_xyz[::-1])
        while True:
            direction = generator.normal(size=3)
            size = generator.uniform(*SHIFT_MM)
            steps = np.rint(direction / np.linalg.norm(direction) * size / spacing)
            moved = np.where(np.isin(array, [self.values[o] for o in organs]), 0, array)
            kept = []
            for structure in organs:
                mask = array == self.values[structure]
                there = ndimage.shift(mask.astype(np.uint8), steps, order=0) > 0
                kept.append(there.sum() / mask.sum())
                moved[there] = self.values[structure]
            if min(kept) >= KEPT:
                return Spoilt(self._labelled(template, moved), tuple(organs), ("shifted",))

    def shifted_labels(self, template: Template, generator: np.random.Generator) -> Spoilt:
        """The whole label map lies off."""
        return self._shift(template, sorted(self.values), generator)

    def shifted_structure(self, template: Template, generator: np.random.Generator) -> Spoilt:
        """One structure's label lies off."""
        return self._shift(template, [str(generator.choice(sorted(self.values)))], generator)

    def flipped_scan(self, template: Template, generator: np.random.Generator) -> Spoilt:
        """Scan and labels are turned over along a random axis, as a wrong header does."""
        axis = int(generator.integers(3))
        if (template.image, axis) not in self._flipped:
            flipped = np.ascontiguousarray(np.flip(template.image.array, axis))
            self._flipped[template.image, axis] = Image(flipped, template.image.grid)
        array = np.ascontiguousarray(np.flip(self._array(template), axis))
        spoilt = replace(self._labelled(template, array), image=self._flipped[template.image, axis])
        if axis == 2:  # mirrored: of these structures only the paired ones show it
            return Spoilt(spoilt, PAIR, ("left_right", "flipped"))
        return Spoilt(spoilt, tuple(sorted(self.values)), ("flipped",))


class Bench:
    """Template sets of supports whose features and cross answers are kept."""

    def __init__(self, localizer: SeenOnce, names: Mapping[int, str]) -> None:
        self.localizer, self.names = localizer, dict(names)
        self._marks: dict[LabelMap, dict[str, StructureTemplate]] = {}
        self._anchors: dict[Image, Anchors] = {}
        self._answers: dict[tuple[StructureTemplate, Image], Candidate] = {}

    def marks(self, template: Template) -> dict[str, StructureTemplate]:
        """Structure to what the encoder saw at its marks."""
        assert template.labels is not None
        if template.labels not in self._marks:
            alone = build_templates(self.localizer, [template], self.names, calibrate=False)  # type: ignore[arg-type]
            self._anchors[template.image] = alone.anchors[template.name]
            self._marks[template.labels] = {
                structure: group[0] for structure, group in alone.by_structure.items()
            }
        return self._marks[template.labels]

    def diagnose(self, scans: Sequence[Template]) -> Diagnosis:
        """What `template build` would find."""
        groups: dict[str, list[StructureTemplate]] = {}
        for template in scans:
            for structure, mark in self.marks(template).items():
                groups.setdefault(structure, []).append(mark)
        anchors = {template.name: self._anchors[template.image] for template in scans}
        values = {name: value for value, name in self.names.items() if name in groups}
        templates = TemplateSet(values, {o: tuple(g) for o, g in groups.items()}, self.localizer.signature)
        answers: CrossCandidates = {}
        for target in scans:
            asked = [(o, s) for o, group in groups.items() for s in group if s.template != target.name]
            new = [s for _, s in asked if (s, target.image) not in self._answers]
            if new:
                found = consensus(
                    self.localizer.embed(target.image),
                    [(template,) for template in new],
                    anchors,
                    SearchOptions(),
                )
                self._answers |= {(s, target.image): a for s, a in zip(new, found, strict=True)}
            answers |= {(o, s.template, target.name): self._answers[s, target.image] for o, s in asked}
        return diagnose(cross_table(templates, answers))


def run(
    bench: Bench,
    templates: Sequence[Template],
    size: int,
    spoil: Callable[[Template, np.random.Generator], Spoilt] | None,
    trials: int,
    generator: np.random.Generator,
) -> dict[str, Any]:
    """Trials of one way to spoil a support (none: good sets), and what the diagnosis said."""
    named = right = accused = 0
    kinds: Counter[str] = Counter()
    for _ in range(trials):
        chosen = [templates[i] for i in generator.choice(len(templates), size, replace=False)]
        spoilt = None if spoil is None else spoil(chosen[0], generator)
        if spoilt is not None:
            chosen[0] = spoilt.template
        issues = bench.diagnose(chosen).issues
        own = [f for f in issues if spoilt is not None and f.templates == (spoilt.template.name,)]
        if spoilt is not None:
            hits = [f for f in own if set(f.structures) & set(spoilt.structures)]
            named += bool(hits)
            right += any(f.kind in spoilt.kinds for f in hits)
        accused += len(issues) > len(own)
        kinds.update(f.kind for f in (own if spoilt is not None else issues))
    return {
        "trials": trials,
        "named": named,
        "right_kind": right,
        "others_accused": accused,
        "kinds": dict(kinds),
    }


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--cases", help="head-neck scans (openkbp/splits.json:pretrain)")
    parser.add_argument("--scans", type=int, default=12, help="so many of those that have all structures")
    parser.add_argument("--trials", type=int, default=50, help="of each kind")
    parser.add_argument("--templates", type=int, default=5, help="in a set")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    folder = arguments.ct / "openkbp"
    references = find_references(folder / "labelsTr")
    listed = read_case_list(arguments.cases or f"{folder}/splits.json:pretrain")
    every = set(references.names.values())
    whole = [name for name in listed if set(references.cases.get(name, {}).get("complete", ())) == every]
    found, names = choose_templates(folder, evenly(whole, arguments.scans))
    templates = [
        replace(s, image=to_canonical(s.image), labels=to_canonical(s.labels))
        for s in read_templates(found, names)
        if s.labels is not None
    ]
    bench = Bench(SeenOnce(load_localizer(arguments.localizer, arguments.device)), names)
    spoiler = Spoiler({name: value for value, name in names.items()})
    ways: dict[str, Callable[[Template, np.random.Generator], Spoilt] | None] = {
        "good set": None,
        "wrong label": spoiler.wrong_label,
        "left and right swapped": spoiler.left_right,
        "another organ": spoiler.another_organ,
        "shifted label map": spoiler.shifted_labels,
        "shifted structure": spoiler.shifted_structure,
        "flipped scan": spoiler.flipped_scan,
    }
    table = Table(title=f"{arguments.templates} templates drawn from {len(templates)} scans", box=SIMPLE_HEAD)
    for head in ("spoilt", "trials", "named %", "right kind %", "others accused %", "kinds said"):
        table.add_column(head, justify="left" if head in ("spoilt", "kinds said") else "right")
    document: dict[str, Any] = {"localizer": bench.localizer.signature, "templates": arguments.templates}
    for number, (name, spoil) in enumerate(ways.items()):
        generator = np.random.default_rng([arguments.seed, number])
        result = run(bench, templates, arguments.templates, spoil, arguments.trials, generator)
        document[name] = result
        shares = [
            f"{100 * result[key] / arguments.trials:.0f}" for key in ("named", "right_kind", "others_accused")
        ]
        if spoil is None:
            shares[:2] = ["–", "–"]
        said = ", ".join(f"{kind} {count}" for kind, count in sorted(result["kinds"].items()))
        table.add_row(name, str(arguments.trials), *shares, said)
        progress(f"{name}: {result}")
    answer([table], document, arguments.json)


if __name__ == "__main__":
    command(main)
