"""Answers in bodies whose truth is known, for fitting the constants of status and confidence (see ``fit_status``).

The six template patients of `bodyval` are located with one another, with one to five templates: their scans are in
the pretraining, and the three query patients that figures are reported on are not asked. Abdominal templates are also
looked for in heads and in a pelvis, head-neck templates in abdomens, phantoms of the trunk in phantoms of other
regions.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.common import SeenOnce, cut_structures, held, progress
from benchmarks.localize.status.absent import BOUNDED, built, phantom_answers
from benchmarks.localize.status.answers import Answer, ask
from benchmarks.localize.status.rows import Row, Trial, left_out_errors, located_rows
from medlsam.evaluation.references import find_references
from medlsam.io.read import read_image
from medlsam.localize.build_templates import Template, build_templates
from medlsam.phantoms import phantom
from medlsam.pipeline.templates import choose_templates, read_templates

#: Template sets of each size for every patient.
SETS = {5: 1, 3: 2, 2: 2, 1: 4}
#: Scans of `body2/` that surely lack the head and neck, a patient each, and one that shows nothing but a pelvis.
ABDOMENS = ("hcc_005_a_ph2", "hcc_007_b1", "hcc_009_b1", "ctc_0518_supine_low", "tcga_bc_a10x")
PELVIS = "vhf_pelvis_900"
#: Regions of phantoms in which the templates' trunk is not, or not whole.
REGIONS = ("head-neck", "thorax", "pelvis", "body")
TRUNK = (180.0, 670.0)


def located(localizer: SeenOnce, ct: Path, seed: int) -> tuple[list[Row], list[Trial]]:
    """The template patients of `bodyval`, each located with sets of the others."""
    folder = ct / "bodyval" / "templates"
    cases, names = choose_templates(folder)
    scans = {template.name: template for template in read_templates(cases, names)}
    references = find_references(folder / "labelsTr")
    generator = np.random.default_rng(seed)
    rows: list[Row] = []
    trials: list[Trial] = []
    for name, query in scans.items():
        others = [other for other in scans if other != name]
        for size in (size for size, count in SETS.items() for _ in range(count)):
            chosen = [str(one) for one in generator.choice(others, size, replace=False)]
            templates = build_templates(localizer, [scans[one] for one in chosen], names)  # type: ignore[arg-type]
            complete = set(references.cases[name]["complete"])
            own = located_rows(localizer, templates, query, complete, size, references, "abdomen, located")
            rows += own
            errors = left_out_errors(localizer, templates, [scans[one] for one in chosen])
            trial = Trial(size, errors, {})
            for row in own:
                trial.error_mm.setdefault(row.structure, []).append(row.error_mm)
            if own and errors:
                trials.append(trial)
        progress(f"{name} with templates of others")
    localizer.forget()
    return rows, trials


def elsewhere(localizer: SeenOnce, ct: Path, heads: Sequence[Path]) -> list[Answer]:
    """Abdominal structures in heads and in a pelvis, head-neck structures in abdomens."""
    abdomen = built(localizer, ct / "bodyval" / "templates", None, None)
    head_neck = built(localizer, ct / "openkbp" / "templates", None, None)
    answers: list[Answer] = []
    truth = dict.fromkeys(abdomen.structures, "absent")
    for path in [*heads, ct / "body2" / PELVIS / "image.nii.gz"]:
        scan = path.parent.name if path.name.startswith("image.") else path.name
        answers += ask(localizer, abdomen, read_image(path), "abdominal templates, elsewhere", scan, truth)
        localizer.forget()
    for scan in ABDOMENS:
        volume = read_image(ct / "body2" / scan / "image.nii.gz")
        wanted = dict.fromkeys(BOUNDED, "absent")
        answers += ask(localizer, head_neck, volume, "head-neck templates, body", scan, wanted)
        localizer.forget()
    progress("abdominal and head-neck templates elsewhere")
    return answers


def phantoms(localizer: SeenOnce, people: Sequence[int]) -> list[Answer]:
    """Structures of the trunk in phantoms of other regions, and removed organs, with one template and with three."""
    answers: list[Answer] = []
    for seeds in ((111,), (111, 112, 113)):
        answers += phantom_answers(localizer, people[:1], templates=seeds)
        made = [phantom(seed, (4.0,) * 3, TRUNK, enhancement="each") for seed in seeds]
        scans = [Template(f"template {i}", one.image, one.labels) for i, one in enumerate(made)]
        names = made[0].names
        whole = held(scans, names).difference(*(cut_structures(s, names, 0.0) for s in scans))
        templates = build_templates(localizer, scans, names, organs=whole)  # type: ignore[arg-type]
        for person in people:
            for region in REGIONS:
                one = phantom(person, (4.0,) * 3, region, enhancement="each")
                query = Template(f"person {person}", one.image, one.labels)
                present = held([query], names)
                cut = cut_structures(query, names, 0.0)
                truth = {
                    structure: "present" if structure in present - cut else "absent"
                    for structure in whole - cut
                }
                group = f"trunk of phantoms, {region}"
                answers += ask(localizer, templates, one.image, group, f"person {person}, {region}", truth)
                localizer.forget()
    progress("phantoms of other regions")
    return answers
