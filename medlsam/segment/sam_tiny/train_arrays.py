"""The training arrays of ``sam-tiny``: labelled and unlabelled CT, mapped into memory instead of read.

``build_arrays`` writes ``<case>.image.npy`` (int16 HU), ``<case>.labels.npy`` (uint8) and ``pool.json``: of the scans
that may train (``train_sources``), without the labels that may not, and of phantoms.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medlsam.errors import UsageError
from medlsam.io.labels import read_label_map
from medlsam.io.read import read_image
from medlsam.runtime.atomic_files import write_json
from medlsam.segment.sam_tiny.train_sources import patient_of, regions_of, scans_to_train
from medlsam.volume import Image, LabelMap, to_canonical
from medlsam.volume.hounsfield import HIGHEST_HU, LOWEST_HU

INDEX = "pool.json"
#: Of what the arrays hold; those of another version are made anew.
VERSION = 2
#: Regions of phantoms by ours.
_PHANTOM_REGIONS = {"head-neck": "head-neck", "thorax": "chest", "abdomen": "abdomen", "pelvis": "pelvis"}


@dataclass(frozen=True)
class Structure:
    """One labelled structure of one case, as voxel index ranges (slices of z, y, x)."""

    name: str
    value: int
    where: tuple[slice, slice, slice]


@dataclass
class TrainingCase:
    """One scan to train on, or to validate with.

    Attributes:
        name: of the case.
        group: ``openkbp``, ``body``, ``body2`` or ``phantom``.
        spacing_zyx: mm.
        names: label value to structure name; empty where there are no labels.
        folder: where the arrays lie.
        held_out: whether the case is kept for validation.
        structures: those that the labels hold.
        patient: scans of one patient have the same.
        regions: of the body that the scan shows (``head-neck``, ``chest``, ``abdomen``, ``pelvis``).
    """

    name: str
    group: str
    spacing_zyx: tuple[float, float, float]
    names: dict[int, str]
    folder: Path
    held_out: bool = False
    structures: list[Structure] = field(default_factory=list)
    patient: str = ""
    regions: tuple[str, ...] = ()

    @cached_property
    def image(self) -> NDArray[np.int16]:
        """(Z, Y, X) HU."""
        array: NDArray[np.int16] = np.load(self.folder / f"{self.name}.image.npy", mmap_mode="r")
        return array

    @cached_property
    def labels(self) -> NDArray[np.uint8]:
        """(Z, Y, X) label values."""
        array: NDArray[np.uint8] = np.load(self.folder / f"{self.name}.labels.npy", mmap_mode="r")
        return array


def build_arrays(ct: Path, folder: Path, phantoms: int = 0, seed: int = 0) -> None:
    """Write the training arrays; those of cases that are there already stay.

    Args:
        ct: folder with ``openkbp/``, ``body/`` and ``body2/``.
        folder: to write to.
        phantoms: how many phantoms to add.
        seed: of the first phantom.
    """
    folder.mkdir(parents=True, exist_ok=True)
    index = folder / INDEX
    known = json.loads(index.read_text(encoding="utf-8")) if index.exists() else {}
    made: dict[str, dict[str, Any]] = known["cases"] if known.get("version") == VERSION else {}
    entries = {}
    for scan in scans_to_train(ct):
        if scan.name in made:
            entries[scan.name] = made[scan.name]
            continue
        labels = read_label_map(scan.labels) if scan.labels else None
        entries[scan.name] = {
            **_write(folder, scan.name, read_image(scan.image), labels, list(scan.names)),
            "group": scan.group,
            "held_out": scan.held_out,
            "names": {str(value): name for value, name in scan.names.items()},
            "patient": patient_of(scan.name),
            "regions": regions_of(scan.name, scan.group),
        }
    for number in range(seed, seed + phantoms):
        name = f"phantom_{number:03d}"
        entries[name] = made[name] if name in made else _phantom(folder, number)
    write_json(index, {"version": VERSION, "cases": entries})


def _phantom(folder: Path, seed: int) -> dict[str, Any]:
    from medlsam.phantoms import phantom

    rng = np.random.default_rng(seed)
    in_plane = float(rng.choice([1.5, 2.0, 3.0]))
    region = ("head-neck", "thorax", "abdomen", "pelvis")[seed % 4]
    made = phantom(
        rng,
        spacing_xyz=(in_plane, in_plane, float(rng.choice([2.5, 3.0, 5.0]))),
        region=region,
        noise_hu=float(rng.uniform(5, 30)),
        metal=bool(rng.random() < 0.15),
    )
    name = f"phantom_{seed:03d}"
    entry = _write(folder, name, made.image, made.labels, list(made.names))
    return {
        **entry,
        "group": "phantom",
        "held_out": False,
        "names": {str(k): v for k, v in made.names.items()},
        "patient": name,
        "regions": [_PHANTOM_REGIONS[region]],
    }


def _write(
    folder: Path, name: str, image: Image, labels: LabelMap | None, values: Sequence[int]
) -> dict[str, Any]:
    """Write a case's arrays; of the labels only ``values``."""
    image = to_canonical(image)
    np.save(
        folder / f"{name}.image.npy", np.clip(image.array, int(LOWEST_HU), int(HIGHEST_HU)).astype(np.int16)
    )
    if labels is not None:
        array = to_canonical(labels).array
        np.save(folder / f"{name}.labels.npy", np.where(np.isin(array, values), array, 0).astype(np.uint8))
    return {"spacing_zyx": [float(s) for s in reversed(image.grid.spacing_xyz)]}


def load_arrays(folder: Path, min_voxels: int = 30) -> list[TrainingCase]:
    """Open training arrays, and find the boxes of their structures.

    Args:
        folder: written by ``build_arrays``.
        min_voxels: smaller structures are left out.

    Raises:
        UsageError: the folder holds no training arrays, or those of an earlier version.
    """
    index = folder / INDEX
    if not index.exists():
        raise UsageError(
            f"{folder}: no training arrays there ({INDEX} is missing); give data.ct to make them"
        )
    document = json.loads(index.read_text(encoding="utf-8"))
    if document.get("version") != VERSION:
        raise UsageError(
            f"{index}: training arrays of version {document.get('version')}, not {VERSION}: other scans and labels "
            "may train now; give data.ct to make them anew"
        )
    return [_open(folder, name, entry, min_voxels) for name, entry in document["cases"].items()]


def _open(folder: Path, name: str, entry: dict[str, Any], min_voxels: int) -> TrainingCase:
    z, y, x = entry["spacing_zyx"]
    names = {int(k): v for k, v in entry["names"].items()}
    case = TrainingCase(
        name,
        entry["group"],
        (z, y, x),
        names,
        folder,
        entry["held_out"],
        patient=entry.get("patient", name),
        regions=tuple(entry.get("regions", ())),
    )
    if names:
        counts = np.bincount(case.labels.ravel(), minlength=256)
        for value, where in enumerate(ndimage.find_objects(np.asarray(case.labels)), start=1):
            if where is not None and value in names and counts[value] >= min_voxels:
                case.structures.append(Structure(names[value], value, where))
    return case


def leave_out(cases: Sequence[TrainingCase], unseen: Sequence[str]) -> list[TrainingCase]:
    """Take structures out of training cases, to see how well is drawn what was never trained on.

    Args:
        cases: to take from; their scans stay, as pictures for regions without a name.
        unseen: names or patterns of structures (``SpinalCord`` and ``spinal_cord`` are one, ``rib_*`` are all ribs), or
            all structures of a group (``body``) or of the scans of a region of the body (``abdomen``).

    Raises:
        UsageError: a name is that of no structure, group or region.
    """
    whole = {*(case.group for case in cases), *(region for case in cases for region in case.regions)}
    plain = {_plain(structure.name) for case in cases for structure in case.structures}
    for name in unseen:
        if name not in whole and not any(fnmatchcase(known, _plain(name)) for known in plain):
            raise UsageError(
                f"data.sampling.leave_out: {name!r} is no structure, group or region of the training arrays; there "
                f"are the structures {', '.join(sorted(plain))} and {', '.join(sorted(whole))}"
            )
    patterns = [_plain(name) for name in unseen if name not in whole]

    def kept(case: TrainingCase, structure: Structure) -> bool:
        return not ({case.group, *case.regions} & set(unseen)) and not any(
            fnmatchcase(_plain(structure.name), pattern) for pattern in patterns
        )

    return [replace(case, structures=[s for s in case.structures if kept(case, s)]) for case in cases]


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace(" ", "").replace("-", "")
