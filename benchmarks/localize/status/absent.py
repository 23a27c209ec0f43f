"""Structures that are not there: how often status says so, and how often it says so of structures that are.

    python benchmarks/localize/status/absent.py [--cases FILE.json:key] [--limit N] [--phantoms N] [--json FILE]

Real scans that lack the structure: head-neck templates on scans of chest and abdomen; lungs and abdominal organs looked
for in head-neck scans, pelvic organs in chest scans; head-neck scans cropped along z so that a structure is cut out.
Phantoms with one organ removed. Beside them structures that are there, and structures that a scan or a crop halves
(neither: they should not get a confident whole box). Which structure is absent where is written down in this file.

Prints the share of each status by group, then how many absent and present structures are called missing or
out_of_view. `--json` also keeps the numbers behind every single answer. The default cases are of the `pretrain` split
(for choosing thresholds; report on others with `--cases`). Takes some minutes on two cores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.common import SeenOnce, answer, command, cut_structures, held, listed_cases, options, progress
from benchmarks.localize.body import lungs
from benchmarks.localize.status.answers import Answer, ask, summary, tables
from benchmarks.localize.status.crops import crops, keep_heights
from medlsam.evaluation.references import CaseReference, References, find_references
from medlsam.io.cases import Case
from medlsam.io.read import read_image
from medlsam.localize.build_templates import Template, build_templates
from medlsam.localize.localizer import load_localizer
from medlsam.localize.templates.template_set import TemplateSet
from medlsam.phantoms import phantom
from medlsam.pipeline.templates import choose_templates, read_templates
from medlsam.volume import Image, to_canonical

#: Head-neck structures with ends of their own; contours of cord and oesophagus end somewhere along one that goes on.
BOUNDED = ("Brainstem", "RightParotid", "LeftParotid", "Larynx", "Mandible")
#: Scans of `body/` to the head-neck structures that they surely lack, as looked at one by one: some chest scans begin
#: in the neck (in the larynx, nsclc_lung1_001 at the chin), and cord and oesophagus run down to the upper abdomen.
WITHOUT_HEAD_NECK = {
    **dict.fromkeys(
        ("acrin_flt_breast_001_b", "crlm_1004", "crlm_1006", "ts_example_ct", "ts_example_dicom"), BOUNDED
    ),
    **dict.fromkeys(("acrin_flt_breast_013", "ts_aorta_crop", *lungs.ONE_LUNG), BOUNDED),
    **dict.fromkeys(("cmb_crc_01068", "lidc_0001", "lidc_0314"), tuple(o for o in BOUNDED if o != "Larynx")),
    "nsclc_lung1_001": ("Brainstem", "RightParotid", "LeftParotid"),
}
ABDOMEN_TEMPLATE = "ts_example_ct"
ABDOMINAL = (
    "spleen", "kidney_right", "kidney_left", "gallbladder", "liver", "stomach", "pancreas",
    "adrenal_gland_right", "adrenal_gland_left", "duodenum", "small_bowel", "colon",
)  # fmt: skip
PELVIC = ("urinary_bladder", "prostate", "sacrum", "hip_left", "hip_right", "femur_left", "femur_right")
#: Scans that end well above the pelvis.
WITHOUT_PELVIS = (
    "acrin_flt_breast_013", "cmb_crc_01068", "lidc_0001", "lidc_0314", "nsclc_lung1_001", "elastix_lung_baseline",
    "elastix_lung_followup", "ts_aorta_crop", "ts_example_dicom",
)  # fmt: skip
#: Two chests without large disease, for lungs.
LUNG_TEMPLATES = ("lidc_0001", "nsclc_lung1_001")
#: Heights of a phantom's region to the organs that are removed from it, one at a time.
PHANTOMS: dict[str, tuple[tuple[float, float], tuple[str, ...]]] = {
    "head-neck": ((590.0, 935.0), ("mandible", "parotid_left", "parotid_right", "larynx", "thyroid", "eye_left")),
    "trunk": (
        (180.0, 670.0),
        (
            "heart", "lung_left", "liver", "spleen", "kidney_left", "kidney_right", "gallbladder", "pancreas",
            "stomach",
        ),
    ),
}  # fmt: skip
PHANTOM_TEMPLATES = (101, 102, 103)


def head_neck_answers(
    localizer: SeenOnce,
    templates: TemplateSet,
    scan: str,
    volume: Image,
    reference: CaseReference,
    cut: Sequence[str],
) -> list[Answer]:
    """A labelled head-neck scan as it is, then without each of its structures and with half of it.

    Args:
        localizer: finds structures; it forgets the scan.
        templates: of head and neck.
        scan: its name.
        volume: the scan, canonical.
        reference: its labels.
        cut: structures that the scan itself cuts off.
    """
    boxes = {name: reference.box(name) for name in reference.values if name in templates.structures}
    truth = dict.fromkeys(boxes, "present") | dict.fromkeys(cut, "halved")
    answers = ask(localizer, templates, volume, "head-neck scan", scan, truth)
    for crop in crops(volume, boxes, BOUNDED):
        localizer.forget()
        name = f"{scan}, {crop.name}"
        answers += ask(localizer, templates, crop.volume, "head-neck scan, cropped", name, crop.truth)
    localizer.forget()
    return answers


def above_the_chest(volume: Image, reference: CaseReference) -> Image | None:
    """A canonical head-neck scan from larynx or jaw upwards, so surely without lung; None where neither is labelled."""
    lowest = [reference.box(name).min[2] for name in ("Larynx", "Mandible") if name in reference.values]
    return keep_heights(volume, min(lowest), volume.grid.box.max[2]) if lowest else None


def phantom_answers(
    localizer: SeenOnce,
    people: Sequence[int],
    regions: Mapping[str, tuple[tuple[float, float], tuple[str, ...]]] = PHANTOMS,
    templates: Sequence[int] = PHANTOM_TEMPLATES,
    spacing_mm: float = 3.0,
) -> list[Answer]:
    """Phantoms with everything, and with one organ removed.

    Args:
        localizer: finds structures.
        people: seeds of the scans.
        regions: name to heights and organs to remove.
        templates: seeds of the template scans.
        spacing_mm: of all phantoms.
    """
    spacing = (spacing_mm,) * 3
    answers = []
    for region, (heights, removed) in regions.items():
        made = [phantom(seed, spacing, heights) for seed in templates]
        scans = [Template(f"template {i}", one.image, one.labels) for i, one in enumerate(made)]
        names = made[0].names
        whole = held(scans, names).difference(*(cut_structures(s, names, 0.0) for s in scans))
        known = build_templates(localizer, scans, names, organs=whole)  # type: ignore[arg-type]
        for seed in people:
            person = phantom(seed, spacing, heights)
            template = Template(f"person {seed}", person.image, person.labels)
            there = held([template], names) - cut_structures(template, names, 0.0)
            truth, group = dict.fromkeys(there, "present"), f"phantom, {region}"
            answers += ask(localizer, known, person.image, group, template.name, truth)
            for structure in sorted(there.intersection(removed)):
                less = phantom(seed, spacing, heights, absent=[structure]).image
                scan = f"{template.name} without {structure}"
                answers += ask(localizer, known, less, f"{group}, removed", scan, {structure: "absent"})
                localizer.forget()
            progress(f"{group}, {template.name}")
    return answers


def built(
    localizer: SeenOnce, folder: Path, scans: Sequence[str] | None, organs: Sequence[str] | None
) -> TemplateSet:
    """Templates of some scans of a folder (all where None), for some structures (all where None)."""
    found, names = choose_templates(folder, scans)
    templates = build_templates(localizer, read_templates(found, names), names, organs=organs)  # type: ignore[arg-type]
    localizer.forget()
    return templates


def body_answers(
    localizer: SeenOnce, body: Path, head_neck: TemplateSet, pelvis: TemplateSet, lung: TemplateSet
) -> list[Answer]:
    """Scans of other regions: without head-neck structures, without a pelvis, and chests with lungs."""
    answers = []
    for scan, structures in WITHOUT_HEAD_NECK.items():
        volume = read_image(body / scan / "image.nii.gz")
        group = "head-neck templates, chest or abdomen"
        answers += ask(localizer, head_neck, volume, group, scan, dict.fromkeys(structures, "absent"))
        if scan in WITHOUT_PELVIS:
            truth = dict.fromkeys(PELVIC, "absent")
            answers += ask(localizer, pelvis, volume, "pelvic template, above", scan, truth)
        localizer.forget()
        progress(scan)
    found, names = choose_templates(body, [name for name in lungs.CHEST if name not in LUNG_TEMPLATES])
    for template in read_templates(found, names):
        there = held([template], names) - cut_structures(template, names, lungs.END_SHARE)
        truth = dict.fromkeys(there & set(lungs.LUNGS), "present")
        answers += ask(localizer, lung, template.image, "lung templates, chest", template.name, truth)
    return answers


def real_answers(localizer: SeenOnce, ct: Path, cases: Sequence[Case]) -> list[Answer]:
    """All trials on real scans.

    Args:
        localizer: finds structures.
        ct: folder of `openkbp/` and `body/`.
        cases: head-neck scans of `openkbp`.
    """
    head_neck = built(localizer, ct / "openkbp" / "templates", None, None)
    abdomen = built(localizer, ct / "body", [ABDOMEN_TEMPLATE], (*ABDOMINAL, *PELVIC))
    lung = built(localizer, ct / "body", LUNG_TEMPLATES, lungs.LUNGS)
    references: References = find_references(ct / "openkbp" / "labelsTr")
    answers = body_answers(localizer, ct / "body", head_neck, abdomen, lung)
    for number, case in enumerate(cases, start=1):
        image = read_image(case.path)
        reference = references.read(case.name, image)
        volume = to_canonical(image)
        truth = dict.fromkeys((*ABDOMINAL, *PELVIC), "absent")
        answers += ask(localizer, abdomen, volume, "abdominal template, head-neck", case.name, truth)
        cut = references.cases.get(case.name, {}).get("truncated", ())
        answers += head_neck_answers(localizer, head_neck, case.name, volume, reference, cut)
        head = above_the_chest(volume, reference)
        if head is not None:
            truth = dict.fromkeys(lungs.LUNGS, "absent")
            answers += ask(localizer, lung, head, "lung templates, head", case.name, truth)
        localizer.forget()
        progress(f"{number}/{len(cases)} {case.name}")
    return answers


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--cases", help="head-neck scans (openkbp/splits.json:pretrain)")
    parser.add_argument("--limit", type=int, default=12, help="so many of them, evenly spaced; 0 for all")
    parser.add_argument(
        "--phantoms", type=int, default=2, help="people of whom phantoms are made; 0 for none"
    )
    parser.add_argument("--only-phantoms", action="store_true", help="no real scans")
    arguments = parser.parse_args()
    localizer = SeenOnce(load_localizer(arguments.localizer, arguments.device))
    answers: list[Answer] = []
    if not arguments.only_phantoms:
        folder = arguments.ct / "openkbp"
        spec = arguments.cases or f"{folder}/splits.json:pretrain"
        cases = listed_cases(folder / "imagesTr", spec, arguments.limit)
        answers += real_answers(localizer, arguments.ct, cases)
    answers += phantom_answers(localizer, range(201, 201 + arguments.phantoms))
    result = summary(answers)
    document = {"localizer": localizer.signature, **result, "answers": [asdict(a) for a in answers]}
    answer(tables(result), document, arguments.json)


if __name__ == "__main__":
    command(main)
