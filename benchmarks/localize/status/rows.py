"""Answers whose truth is known, for fitting the constants of status and confidence (see ``fit_status``).

Only scans that may be learnt from: head-neck cases of a list, train scans of `body/`, phantoms; bodies are in
``bodies``. All answers keep their numbers (``LocatedStructure.details``), so fitting needs no scan.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.common import SeenOnce, evenly, progress
from benchmarks.localize.body import lungs
from benchmarks.localize.status import absent
from benchmarks.localize.status.answers import Answer, ask
from medlsam.evaluation.references import References, find_references
from medlsam.io.cases import Case
from medlsam.io.read import read_image
from medlsam.localize.build_templates import Template, build_templates
from medlsam.localize.confidence.leave_one_out import leave_one_out, locate_each_other
from medlsam.localize.locate import locate
from medlsam.localize.search.options import SearchOptions
from medlsam.localize.templates.template_set import TemplateSet
from medlsam.measure.metrics import box_iou
from medlsam.pipeline.templates import choose_templates, read_templates
from medlsam.runtime.atomic_files import write_json
from medlsam.volume import to_canonical

#: So many template sets of each size, drawn from so many cases that have all structures.
SETS = {5: 3, 3: 2, 2: 2, 1: 3}
MOST_TEMPLATES = 9
#: Scans of `body/` that figures are reported on: never asked here.
REPORTED = (lungs.UNSEEN, "crlm_1006")


@dataclass(frozen=True)
class Row:
    """One answer; ``iou`` and ``error_mm`` (six faces, located minus true) where there is a true box."""

    group: str
    scan: str
    structure: str
    truth: str
    details: dict[str, float]
    templates: int = 0
    iou: float | None = None
    error_mm: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Trial:
    """One template set: structure to left-out errors (n, 6), and to the errors in other scans (m, 6), mm."""

    templates: int
    left_out: dict[str, list[list[float]]]
    error_mm: dict[str, list[list[float]]]


@dataclass(frozen=True)
class Collected:
    """All rows, and the template sets for the margins."""

    rows: list[Row]
    trials: list[Trial]

    def save(self, path: Path) -> None:
        """Write as JSON."""
        write_json(path, {"rows": [asdict(r) for r in self.rows], "trials": [asdict(t) for t in self.trials]})

    @classmethod
    def load(cls, path: Path) -> Collected:
        """The inverse of ``save``."""
        data = json.loads(path.read_text(encoding="utf-8"))
        return cls([Row(**row) for row in data["rows"]], [Trial(**trial) for trial in data["trials"]])


def collect(
    localizer: SeenOnce,
    ct: Path,
    cases: Sequence[Case],
    listed: Sequence[str],
    people: Sequence[int],
    seed: int,
) -> Collected:
    """Ask everything.

    Args:
        localizer: finds structures.
        ct: folder of `openkbp/` and `body/`.
        cases: head-neck scans to ask about, with labels in `openkbp/labelsTr`.
        listed: names of the head-neck scans that may be templates.
        people: seeds of phantoms; no templates of other benchmarks.
        seed: of the template sets.
    """
    references = find_references(ct / "openkbp" / "labelsTr")
    answers = _absent_in_body(localizer, ct)
    answers += _cropped(localizer, ct, cases, references)
    answers += absent.phantom_answers(localizer, people)
    rows = [Row(a.group, a.scan, a.structure, a.truth, dict(a.details)) for a in answers]
    located, trials = _present(localizer, ct, [case.name for case in cases], listed, references, seed)
    return Collected(rows + located, trials)


def _absent_in_body(localizer: SeenOnce, ct: Path) -> list[Answer]:
    """Head-neck and pelvic structures in train scans of other regions."""
    head_neck = absent.built(localizer, ct / "openkbp" / "templates", None, None)
    pelvis = absent.built(localizer, ct / "body", [absent.ABDOMEN_TEMPLATE], absent.PELVIC)
    answers: list[Answer] = []
    for scan, structures in absent.WITHOUT_HEAD_NECK.items():
        if scan in REPORTED:
            continue
        volume = read_image(ct / "body" / scan / "image.nii.gz")
        for templates, wanted in ((head_neck, structures), (pelvis, absent.PELVIC)):
            if templates is head_neck or scan in absent.WITHOUT_PELVIS:
                group = "head-neck templates, body" if templates is head_neck else "pelvic template, above"
                answers += ask(localizer, templates, volume, group, scan, dict.fromkeys(wanted, "absent"))
        localizer.forget()
        progress(scan)
    return answers


def _cropped(localizer: SeenOnce, ct: Path, cases: Sequence[Case], references: References) -> list[Answer]:
    """Head-neck scans whole and cropped, and abdominal structures looked for in them."""
    head_neck = absent.built(localizer, ct / "openkbp" / "templates", None, None)
    structures = (*absent.ABDOMINAL, *absent.PELVIC)
    abdomen = absent.built(localizer, ct / "body", [absent.ABDOMEN_TEMPLATE], structures)
    answers: list[Answer] = []
    for number, case in enumerate(cases, start=1):
        image = read_image(case.path)
        reference = references.read(case.name, image)
        cut = references.cases.get(case.name, {}).get("truncated", ())
        volume = to_canonical(image)
        answers += absent.head_neck_answers(localizer, head_neck, case.name, volume, reference, cut)
        truth = dict.fromkeys(structures, "absent")
        answers += ask(localizer, abdomen, volume, "abdominal template, head-neck", case.name, truth)
        localizer.forget()
        progress(f"{number}/{len(cases)} {case.name}, cropped")
    return answers


def _present(
    localizer: SeenOnce,
    ct: Path,
    cases: Sequence[str],
    listed: Sequence[str],
    references: References,
    seed: int,
) -> tuple[list[Row], list[Trial]]:
    """Complete structures of the cases, located with template sets drawn from the listed ones."""
    complete = {name: set(references.cases[name]["complete"]) for name in {*cases, *listed}}
    whole = evenly(
        [name for name in listed if complete[name] == set(references.names.values())], MOST_TEMPLATES
    )
    found, names = choose_templates(ct / "openkbp", [*cases, *(name for name in whole if name not in cases)])
    scans = {s.name: s for s in read_templates(found, names)}
    generator = np.random.default_rng(seed)
    rows: list[Row] = []
    trials: list[Trial] = []
    for size in (size for size, count in SETS.items() for _ in range(count)):
        chosen = [str(name) for name in generator.choice(whole, size, replace=False)]
        templates = build_templates(localizer, [scans[name] for name in chosen], names)  # type: ignore[arg-type]
        trial = Trial(size, {}, {})
        trial.left_out.update(left_out_errors(localizer, templates, [scans[name] for name in chosen]))
        for name in cases:
            if name not in chosen:
                own = located_rows(
                    localizer,
                    templates,
                    scans[name],
                    complete[name],
                    size,
                    references,
                    "head-neck scan, located",
                )
                rows += own
                for row in own:
                    trial.error_mm.setdefault(row.structure, []).append(row.error_mm)
        trials.append(trial)
        progress(f"{size} templates: {', '.join(chosen)}")
    localizer.forget()
    return rows, trials


def left_out_errors(
    localizer: SeenOnce, templates: TemplateSet, scans: Sequence[Template]
) -> dict[str, list[list[float]]]:
    """Structure to the six errors, mm, of each template located with the others; empty with one template."""
    if len(scans) < 2:
        return {}
    seen = {scan.name: localizer.embed(scan.image) for scan in scans}
    answers = locate_each_other(templates, seen, SearchOptions())
    errors: dict[str, list[list[float]]] = {}
    for one in leave_one_out(templates, seen, answers, SearchOptions()):
        errors.setdefault(one.structure, []).append(one.error_mm.tolist())
    return errors


def located_rows(
    localizer: SeenOnce,
    templates: TemplateSet,
    template: Template,
    complete: set[str],
    size: int,
    references: References,
    group: str,
) -> list[Row]:
    """Locate a labelled scan's complete structures.

    Args:
        localizer: finds them.
        templates: of other patients.
        template: the scan.
        complete: its complete structures.
        size: number of templates.
        references: where its labels are.
        group: of the rows.
    """
    reference = references.read(template.name, template.image)
    found = locate(localizer.embed(template.image), templates)
    rows = []
    for structure in templates.structures:
        if structure in complete and structure in reference.values:
            box, truth = found[structure].box, reference.box(structure)
            error = (box.faces - truth.faces).tolist() if box is not None else []
            rows.append(
                Row(
                    group,
                    template.name,
                    structure,
                    "present",
                    dict(found[structure].details),
                    size,
                    box_iou(box, truth),
                    error,
                )
            )
    return rows
