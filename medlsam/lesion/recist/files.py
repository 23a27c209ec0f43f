"""Where the scan, the lesion mask and the kinds of a visit are, and reading them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medlsam.errors import UsageError
from medlsam.io.folders import IMAGE_SUFFIXES, case_name
from medlsam.io.labels import read_label_map
from medlsam.io.read import read_image
from medlsam.lesion.recist.follow_up import Visit
from medlsam.lesion.recist.hcuch import read_kinds
from medlsam.lesion.recist.lesion import Kind, Lesion
from medlsam.localize.localizer import Localizer
from medlsam.measure.lesions import LEAST_VOXELS, Instances, LesionMeasurement, measure_lesions
from medlsam.runtime.atomic_files import suffix_of
from medlsam.volume import Image, LabelMap

#: Names, without extension, of a lesion mask and of a scan in a visit's folder; the first that is there.
MASK_NAMES = ("lesions", "mask", "labels", "segmentation")
SCAN_NAMES = ("image", "scan", "ct")
KINDS_NAMES = ("lesions.json", "kinds.json", "labels.json")


@dataclass(frozen=True)
class VisitFiles:
    """The files of one visit.

    Attributes:
        name: of the visit.
        mask: the lesions.
        scan: the CT.
        kinds: which value is what kind of lesion; None where nobody says it.
    """

    name: str
    mask: Path
    scan: Path | None = None
    kinds: Path | None = None


def find_visit(path: Path) -> VisitFiles:
    """Find the files of a visit.

    Args:
        path: a folder with ``image.*`` (or ``scan.*``, ``ct.*``, or a folder of DICOM slices ``dicom``) and
            ``lesions.*`` (or ``mask.*``, ``labels.*``, ``segmentation.*``), and perhaps ``lesions.json`` or
            ``labels.json`` with the kinds; or a mask of a dataset that lies as HCUCH does, ``masks/<series>.nii.gz``
            beside ``images`` and ``labels``.

    Raises:
        UsageError: there is no such path, or it has no mask or no scan.
    """
    if not path.exists():
        raise UsageError(f"{path}: there is no such file or folder")
    files = _beside_mask(path) if path.is_file() else _in_folder(path)
    if files.scan is None:
        raise UsageError(
            f"{path}: a visit needs its scan, by which lesions are found again; give a folder with image.nii.gz and "
            "lesions.nii.gz"
        )
    return files


def find_masks(path: Path) -> dict[str, Path]:
    """Find the lesion masks that a path means, by the name of each case.

    Args:
        path: a mask; a visit's or case's folder; a folder of masks; or a folder of such folders.

    Raises:
        UsageError: there is none.
    """
    if not path.is_dir():
        return {case_name(path): path}
    own = _named(path, MASK_NAMES)
    if own is not None:
        return {path.resolve().name: own}
    entries = [entry for entry in sorted(path.iterdir()) if entry.name[0] != "."]
    masks = [
        (case_name(file), file) for file in entries if file.is_file() and suffix_of(file) in IMAGE_SUFFIXES
    ]
    for folder in (entry for entry in entries if entry.is_dir()):
        mask = _named(folder, MASK_NAMES)
        if mask is not None:
            masks.append((folder.name, mask))
    # Two files may be of one name, one.nii.gz and one.nrrd: then their endings tell them apart.
    often = Counter(name for name, _ in masks)
    found = {name if often[name] == 1 else str(file.relative_to(path)): file for name, file in masks}
    if not found:
        raise UsageError(
            f"{path}: there is no lesion mask in this folder; known are {', '.join(IMAGE_SUFFIXES)}, and folders with "
            f"{MASK_NAMES[0]}.nii.gz (or {', '.join(MASK_NAMES[1:])})"
        )
    return found


def find_kinds(mask: Path) -> Path | None:
    """The file that says the kinds of a mask.

    ``labels/<series>.json`` of HCUCH, a JSON of the mask's own name, or one of ``KINDS_NAMES`` beside a mask of one of
    ``MASK_NAMES``.
    """
    stem = mask.name[: -len(suffix_of(mask))]
    beside = [mask.parent / f"{stem}.json"]
    if mask.parent.name == "masks":
        beside.insert(0, mask.parent.parent / "labels" / f"{stem}.json")
    if stem in MASK_NAMES:
        beside += [mask.parent / name for name in KINDS_NAMES]
    return next((file for file in beside if file.is_file()), None)


def distinct_names(files: Sequence[VisitFiles], paths: Sequence[Path]) -> list[VisitFiles]:
    """Visits with a name each: where two folders have one name, with those above them.

    Raises:
        UsageError: one visit is given twice.
    """
    places = [path.resolve() for path in paths]
    for number, place in enumerate(places):
        if place in places[:number]:
            raise UsageError(
                f"{paths[number]}: this visit is given twice; give each visit once, in order of time"
            )
    names = [own.name for own in files]
    for depth in range(2, max(len(place.parts) for place in places) + 1):
        often = Counter(names)
        names = [
            name if often[name] == 1 else "/".join((*place.parts[-depth:-1], own.name))
            for name, own, place in zip(names, files, places, strict=True)
        ]
    often = Counter(names)
    names = [name if often[name] == 1 else place.name for name, place in zip(names, places, strict=True)]
    return [replace(own, name=name) for own, name in zip(files, names, strict=True)]


def _beside_mask(mask: Path) -> VisitFiles:
    scan = mask.parent.parent / "images" / mask.name
    known = mask.parent.name == "masks" and scan.is_file()
    return VisitFiles(case_name(mask), mask, scan if known else None, find_kinds(mask))


def _in_folder(folder: Path) -> VisitFiles:
    mask = _named(folder, MASK_NAMES)
    if mask is None:
        raise UsageError(
            f"{folder}: there is no lesion mask; name it lesions.nii.gz (or {', '.join(MASK_NAMES[1:])})"
        )
    dicom = folder / "dicom"
    scan = _named(folder, SCAN_NAMES) or (dicom if dicom.is_dir() else None)
    return VisitFiles(folder.resolve().name, mask, scan, find_kinds(mask))


def _named(folder: Path, names: tuple[str, ...]) -> Path | None:
    files = {name: folder / f"{name}{suffix}" for suffix in reversed(IMAGE_SUFFIXES) for name in names
             if (folder / f"{name}{suffix}").is_file()}  # fmt: skip
    return next((files[name] for name in names if name in files), None)


def read_lesions(
    files: VisitFiles, least_voxels: int = LEAST_VOXELS, instances: Instances = "auto"
) -> tuple[list[Lesion], LabelMap, Image | None]:
    """Read a mask (and its scan), and measure the lesions.

    Args:
        files: of the visit.
        least_voxels: fewer are no lesion.
        instances: what one lesion is, see ``measure.lesions``.

    Raises:
        VolumeError: a file cannot be read.
        GeometryError: mask and scan lie on different grids.
        DatasetError: the kinds cannot be read.
    """
    mask = read_label_map(files.mask)
    scan = None if files.scan is None else read_image(files.scan)
    kinds = {} if files.kinds is None else read_kinds(files.kinds)
    measured = measure_lesions(mask, scan, least_voxels, instances)
    return with_kinds(measured, kinds), mask, scan


def with_kinds(measured: list[LesionMeasurement], kinds: dict[int, Kind]) -> list[Lesion]:
    """Give each measured lesion the kind of its value."""
    return [Lesion(own, kinds.get(own.value, Kind())) for own in measured]


def read_visit(
    files: VisitFiles,
    localizer: Localizer,
    slice_mm: float | None = None,
    instances: Instances = "auto",
) -> tuple[Visit, LabelMap, Image]:
    """Read a visit with all its lesions, small ones too, and embed its scan.

    Args:
        files: of the visit, with a scan.
        localizer: the same for all visits.
        slice_mm: thickness of the slices; their distance by default.
        instances: what one lesion is, see ``measure.lesions``.

    Returns:
        The visit, and its mask and scan, to be drawn.
    """
    lesions, mask, scan = read_lesions(files, 1, instances)
    assert scan is not None, "find_visit refuses a visit without a scan"
    return Visit(files.name, tuple(lesions), localizer.embed(scan), slice_mm), mask, scan
