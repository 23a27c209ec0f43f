"""Labelled scans to fine-tune on, their patients, and which of them are held out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medlsam.errors import TemplateError, UsageError
from medlsam.io.checks import check_same_grid
from medlsam.io.label_names import read_case_list, read_patients
from medlsam.io.labelled_scans import Split, TemplateCase, find_templates, read_template_labels
from medlsam.io.read import read_image
from medlsam.option_fields import near
from medlsam.runtime.atomic_files import sha256_of
from medlsam.volume import Image, LabelMap, to_canonical

Names = Sequence[str] | str | Path


@dataclass(frozen=True)
class LabelledCase:
    """A scan with a label map, not read yet.

    Attributes:
        case: its files.
        patient: the scan's; one patient's scans are trained on together or held out together.
        names: label value to structure, of the chosen structures.
        table: label value to structure, of all.
    """

    case: TemplateCase
    patient: str
    names: Mapping[int, str]
    table: Mapping[int, str]

    @property
    def name(self) -> str:
        """Name of the scan."""
        return self.case.name

    def label_sum(self) -> str:
        """Compute the sha256 of the label map's file, which changes when a mask is corrected."""
        assert self.case.labels is not None, "find_labelled leaves out cases without a label map"
        return sha256_of(self.case.labels)

    def read(self) -> LabelledScan:
        """Read scan and labels onto the canonical grid.

        Raises:
            VolumeError: a file cannot be read, or no voxel is labelled.
            GeometryError: image and labels lie on different grids.
            TemplateError: a label value has no name.
        """
        image, labels = read_image(self.case.image), read_template_labels(self.case, dict(self.table))
        check_same_grid(image, labels)
        return LabelledScan(self.name, self.patient, to_canonical(image), to_canonical(labels), self.names)


@dataclass(frozen=True, eq=False)
class LabelledScan:
    """A scan and its labels on one canonical grid.

    Attributes:
        name: of the scan.
        patient: the scan's.
        image: (Z, Y, X) HU.
        labels: (Z, Y, X) label values.
        names: label value to structure, of the chosen structures.
    """

    name: str
    patient: str
    image: Image
    labels: LabelMap
    names: Mapping[int, str]


def find_labelled(
    paths: Iterable[str | Path],
    cases: Names | None = None,
    organs: Sequence[str] | None = None,
    patients: Mapping[str, str] | str | Path | None = None,
    split: Split = "Tr",
) -> list[LabelledCase]:
    """Find the labelled scans of some folders.

    Args:
        paths: folders laid out as templates folders (nnU-Net, or ``<case>/image.*`` with ``<case>/labels.*``).
        cases: only these: names, or ``FILE.json`` or ``FILE.json:key``.
        organs: only these structures; all where None.
        patients: scan to patient, or a JSON file of it; a scan that is not in it is a patient of its own.
        split: part of nnU-Net datasets: ``Tr`` or ``Ts``.

    Returns:
        Sorted by name, without cases that have extreme points only.

    Raises:
        TemplateError: no such folder, no label map in them, or two scans of one name.
        UsageError: a named case, structure or patient is not there.
    """
    found: dict[str, LabelledCase] = {}
    for path in paths:
        known, table = find_templates(path, split)
        for case in known:
            if case.labels is None:
                continue
            if case.name in found:
                other = found[case.name].case.image
                raise TemplateError(
                    f"{case.image} and {other} have one name, {case.name}; rename one of them"
                )
            found[case.name] = LabelledCase(case, case.name, table, table)
    if not found:
        raise TemplateError(f"{', '.join(map(str, paths))}: no scan with a label map to fine-tune on")
    if cases is not None:
        found = {name: found[name] for name in chosen_names(cases, found, "cases")}
    owners = read_owners(patients, found)
    kept = []
    for name, own in sorted(found.items()):
        names = {v: n for v, n in own.table.items() if organs is None or n in organs}
        kept.append(LabelledCase(own.case, owners.get(name, name), names, own.table))
    every = {structure: None for own in found.values() for structure in own.table.values()}
    for structure in organs or ():
        if structure not in every:
            raise UsageError(
                f"organs: no scan has {structure!r}{near(structure, every)}; the structures are {', '.join(every)}"
            )
    return kept


def split_labelled(
    paths: Iterable[str | Path],
    cases: Names | None,
    organs: Sequence[str] | None,
    patients: Mapping[str, str] | str | Path | None,
    held_out: Names | None,
) -> tuple[list[LabelledCase], list[LabelledCase]]:
    """Find the scans to train on, and those that are held out.

    Args:
        paths: see ``find_labelled``, and so are ``cases``, ``organs`` and ``patients``.
        cases: only these; held-out scans of a folder of their own are not chosen from.
        organs: only these structures.
        patients: scan to patient.
        held_out: names of some of the scans, or a folder of others: an nnU-Net dataset, of which ``imagesTs`` and
            ``labelsTs`` are taken, or pairs.

    Raises:
        UsageError: a patient on both sides, or fewer than two patients to train on; see ``find_labelled``.
        TemplateError: see ``find_labelled``.
    """
    known = find_labelled(paths, cases, organs, None)
    if isinstance(held_out, str | Path) and Path(held_out).is_dir():
        trained, scored = known, find_labelled([held_out], None, organs, None, "Ts")
    else:
        names = [] if held_out is None else chosen_names(held_out, [case.name for case in known], "held_out")
        trained, scored = [c for c in known if c.name not in names], [c for c in known if c.name in names]
    owners = read_owners(patients, [case.name for case in (*trained, *scored)])
    trained, scored = (
        [replace(case, patient=owners.get(case.name, case.name)) for case in side]
        for side in (trained, scored)
    )
    check_apart({case.patient for case in scored}, {case.patient for case in trained})
    if len({case.patient for case in trained}) < 2:
        raise UsageError(
            f"leave-one-patient-out needs two patients to train on, there are {len(trained)} scan(s) that are not "
            "held out; add another patient's scan"
        )
    return trained, scored


def chosen_names(names: Names, known: Iterable[str], what: str, kind: str = "labelled scan") -> list[str]:
    """Read names of scans from a list or a file, each once.

    Args:
        names: a list, or ``FILE.json`` or ``FILE.json:key``.
        known: all scans.
        what: the argument's name, for messages.
        kind: what the scans are, for messages.

    Raises:
        UsageError: the file cannot be read, the list is empty, or a name is not known.
    """
    wanted = read_case_list(names) if isinstance(names, str | Path) else list(names)
    known = list(known)
    for name in wanted:
        if name not in known:
            raise UsageError(
                f"{what}: there is no {kind} {name!r}{near(name, known)}; there are {', '.join(known)}"
            )
    if not wanted:
        raise UsageError(f"{what}: the list is empty; leave it out instead")
    return list(dict.fromkeys(wanted))


def check_apart(held_out: set[str], trained: set[str]) -> None:
    """Refuse patients that would be trained on and held out.

    Raises:
        UsageError: naming them.
    """
    if both := sorted(held_out & trained):
        raise UsageError(
            f"held_out: {', '.join(both)} would be trained on as well, by another scan of the same patient; "
            "hold out all of a patient's scans"
        )


def read_owners(
    patients: Mapping[str, str] | str | Path | None, known: Collection[str], kind: str = "labelled scan"
) -> Mapping[str, str]:
    """Read which scan is of which patient.

    Args:
        patients: scan to patient, or a file (see ``io.label_names.read_patients``); None for nothing known.
        known: names of all scans.
        kind: what the scans are, for messages.

    Raises:
        UsageError: not such a table, or it names none of the scans.
    """
    if patients is None:
        return {}
    table = read_patients(patients) if isinstance(patients, str | Path) else patients
    if not all(isinstance(owner, str) for owner in table.values()):
        raise UsageError(f'{patients}: expected scan to patient, such as {{"scan_1": "patient_a", ...}}')
    if not set(table) & set(known):
        raise UsageError(f"{patients}: names none of the {kind}s, which are {', '.join(known)}")
    return table
