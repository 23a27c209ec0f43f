"""Labelled scans to fine-tune on, their patients, and the 2D components of their labels."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medlsam.errors import TemplateError, UsageError
from medlsam.geometry import filled
from medlsam.io.checks import check_same_grid
from medlsam.io.label_names import read_case_list, read_json
from medlsam.io.labelled_scans import TemplateCase, find_templates, read_template_labels
from medlsam.io.read import read_image
from medlsam.option_fields import near
from medlsam.runtime.atomic_files import sha256_of
from medlsam.volume import Image, LabelMap, to_canonical

#: Smaller 2D components are left out, in training and in scoring (as in the HCUCH paper, table 4).
MIN_PIXELS = 10
_NEIGHBOURS = np.ones((3, 3), dtype=bool)

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


@dataclass(frozen=True, eq=False)
class Component:
    """A connected part of a structure in one axial slice.

    Attributes:
        structure: it is a part of.
        z: slice index of the canonical array.
        number: place among the structure's parts in the slice, 0 the largest.
        low_xy: column and row of its first pixel.
        pixels: (rows, columns) mask within its tight box.
    """

    structure: str
    z: int
    number: int
    low_xy: tuple[int, int]
    pixels: NDArray[np.bool_]

    @property
    def box_xyxy(self) -> tuple[float, float, float, float]:
        """Its tight box in continuous pixel indices, as in ``SlicePrompt``."""
        (x, y), (rows, columns) = self.low_xy, self.pixels.shape
        return (x - 0.5, y - 0.5, x + columns - 0.5, y + rows - 0.5)

    def mask(self, shape_hw: tuple[int, int]) -> NDArray[np.bool_]:
        """Draw the component as a mask (H, W) of its slice."""
        plane = np.zeros(shape_hw, bool)
        (x, y), (rows, columns) = self.low_xy, self.pixels.shape
        plane[y : y + rows, x : x + columns] = self.pixels
        return plane


def components(scan: LabelledScan, slices: int = 0) -> list[Component]:
    """List the 2D components of a scan's structures with at least ``MIN_PIXELS`` pixels (8 neighbours).

    Args:
        scan: labelled.
        slices: at most so many slices of each structure, evenly spaced; 0 for all.

    Returns:
        By structure, slice and number; none where all are too small.
    """
    found = []
    for value, structure in scan.names.items():
        mask = scan.labels.array == value
        own = {z: parts for z in filled(mask, 0) if (parts := _parts(mask[z]))}
        levels = list(own)
        if 0 < slices < len(levels):
            levels = [levels[int(i)] for i in np.linspace(0, len(levels) - 1, slices).round()]
        found += [Component(structure, int(z), k, *part) for z in levels for k, part in enumerate(own[z])]
    return found


def _parts(plane: NDArray[np.bool_]) -> list[tuple[tuple[int, int], NDArray[np.bool_]]]:
    """List (first column and row, mask) of the large enough parts of a plane (H, W), the largest first."""
    numbered, _ = ndimage.label(plane, structure=_NEIGHBOURS)
    parts = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(numbered), start=1):
        pixels = numbered[rows, columns] == number
        if pixels.sum() >= MIN_PIXELS:
            parts.append(((int(columns.start), int(rows.start)), pixels))
    return sorted(parts, key=lambda part: -int(part[1].sum()))


def find_labelled(
    paths: Iterable[str | Path],
    cases: Names | None = None,
    organs: Sequence[str] | None = None,
    patients: Mapping[str, str] | str | Path | None = None,
) -> list[LabelledCase]:
    """Find the labelled scans of some folders.

    Args:
        paths: folders laid out as templates folders (nnU-Net, or ``<case>/image.*`` with ``<case>/labels.*``).
        cases: only these: names, or ``FILE.json`` or ``FILE.json:key``.
        organs: only these structures; all where None.
        patients: scan to patient, or a JSON file of it; a scan that is not in it is a patient of its own.

    Returns:
        Sorted by name, without cases that have extreme points only.

    Raises:
        TemplateError: no such folder, no label map in them, or two scans of one name.
        UsageError: a named case, structure or patient is not there.
    """
    found: dict[str, LabelledCase] = {}
    for path in paths:
        known, table = find_templates(path)
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
        patients: scan to patient, or a JSON file of it; None for nothing known.
        known: names of all scans.
        kind: what the scans are, for messages.

    Raises:
        UsageError: not such a table, or it names none of the scans.
    """
    if patients is None:
        return {}
    table = read_json(Path(patients), UsageError) if isinstance(patients, str | Path) else patients
    if not isinstance(table, Mapping) or not all(isinstance(owner, str) for owner in table.values()):
        raise UsageError(f'{patients}: expected scan to patient, such as {{"scan_1": "patient_a", ...}}')
    if not set(table) & set(known):
        raise UsageError(f"{patients}: names none of the {kind}s, which are {', '.join(known)}")
    return table
