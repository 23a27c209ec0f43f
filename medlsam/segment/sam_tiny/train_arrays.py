"""The training arrays of ``sam-tiny``: labelled and unlabelled CT, mapped into memory instead of read.

``build_arrays`` writes ``<case>.image.npy`` (int16 HU), ``<case>.labels.npy`` (uint8) and ``pool.json``.
Only cases that training may see go in: the pretrain split of OpenKBP, the cases of ``body/`` that are not for
evaluation only, and phantoms.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medlsam.errors import UsageError
from medlsam.io.labels import read_label_map
from medlsam.io.read import read_image
from medlsam.runtime.atomic_files import write_json
from medlsam.volume import Image, LabelMap, to_canonical
from medlsam.volume.hounsfield import HIGHEST_HU, LOWEST_HU

INDEX = "pool.json"
EVALUATE_ONLY = ("nsclc_lung1_001",)


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
        group: ``openkbp``, ``body`` or ``phantom``.
        spacing_zyx: mm.
        names: label value to structure name; empty where there are no labels.
        folder: where the arrays lie.
        held_out: whether the case is kept for validation.
    """

    name: str
    group: str
    spacing_zyx: tuple[float, float, float]
    names: dict[int, str]
    folder: Path
    held_out: bool = False
    structures: list[Structure] = field(default_factory=list)

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


def build_arrays(ct: Path, folder: Path, phantoms: int = 0, held_out: int = 16, seed: int = 0) -> None:
    """Write the training arrays; those of cases that are there already stay.

    Args:
        ct: folder with ``openkbp/`` and ``body/``.
        folder: to write to.
        phantoms: how many phantoms to add.
        held_out: how many cases at the end of the pretrain split are kept for validation.
        seed: of the first phantom.
    """
    folder.mkdir(parents=True, exist_ok=True)
    index = folder / INDEX
    entries: dict[str, dict[str, Any]] = (
        json.loads(index.read_text(encoding="utf-8"))["cases"] if index.exists() else {}
    )
    split = json.loads((ct / "openkbp" / "splits.json").read_text(encoding="utf-8"))
    kept = set(split["pretrain"][-held_out:])
    forbidden = {*split["val"], *split["templates"]}
    for name, group, image, labels, names in (*_openkbp(ct, split["pretrain"]), *_body(ct)):
        if name in forbidden or name in entries:
            continue
        pair = (read_image(image), read_label_map(labels) if labels else None)
        entries[name] = {**_write(folder, name, *pair), "group": group, "held_out": name in kept}
        entries[name]["names"] = names if labels else {}
    for number in range(seed, seed + phantoms):
        if f"phantom_{number:03d}" not in entries:
            entries[f"phantom_{number:03d}"] = _phantom(folder, number)
    write_json(index, {"cases": entries})


def _openkbp(ct: Path, names: list[str]) -> Iterator[tuple[str, str, Path, Path | None, dict[str, str]]]:
    root = ct / "openkbp"
    structures = {
        str(v): k
        for k, v in json.loads((root / "dataset.json").read_text(encoding="utf-8"))["labels"].items()
        if int(v) > 0
    }
    for name in names:
        yield (
            name,
            "openkbp",
            root / f"imagesTr/{name}_0000.nii.gz",
            root / f"labelsTr/{name}.nii.gz",
            structures,
        )


def _body(ct: Path) -> Iterator[tuple[str, str, Path, Path | None, dict[str, str]]]:
    for path in sorted((ct / "body").iterdir()):
        if path.name in EVALUATE_ONLY or not (path / "image.nii.gz").exists():
            continue
        labels = path / "labels.nii.gz"
        structures: dict[str, str] = {}
        if labels.exists():
            table = json.loads((path / "labels.json").read_text(encoding="utf-8"))
            structures = {str(v): k for k, v in table.items() if int(v) > 0}
        yield path.name, "body", path / "image.nii.gz", labels if labels.exists() else None, structures


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
    entry = _write(folder, f"phantom_{seed:03d}", made.image, made.labels)
    return {
        **entry,
        "group": "phantom",
        "held_out": False,
        "names": {str(k): v for k, v in made.names.items()},
    }


def _write(folder: Path, name: str, image: Image, labels: LabelMap | None) -> dict[str, Any]:
    image = to_canonical(image)
    np.save(
        folder / f"{name}.image.npy", np.clip(image.array, int(LOWEST_HU), int(HIGHEST_HU)).astype(np.int16)
    )
    if labels is not None:
        np.save(folder / f"{name}.labels.npy", to_canonical(labels).array.astype(np.uint8))
    return {"spacing_zyx": [float(s) for s in reversed(image.grid.spacing_xyz)]}


def load_arrays(folder: Path, min_voxels: int = 30) -> list[TrainingCase]:
    """Open training arrays, and find the boxes of their structures.

    Args:
        folder: written by ``build_arrays``.
        min_voxels: smaller structures are left out.

    Raises:
        UsageError: the folder holds no training arrays.
    """
    from scipy import ndimage

    index = folder / INDEX
    if not index.exists():
        raise UsageError(
            f"{folder}: no training arrays there ({INDEX} is missing); give data.ct to make them"
        )
    cases = []
    for name, entry in json.loads(index.read_text(encoding="utf-8"))["cases"].items():
        z, y, x = entry["spacing_zyx"]
        names = {int(k): v for k, v in entry["names"].items()}
        case = TrainingCase(name, entry["group"], (z, y, x), names, folder, entry["held_out"])
        if names:
            counts = np.bincount(case.labels.ravel(), minlength=256)
            for value, where in enumerate(ndimage.find_objects(np.asarray(case.labels)), start=1):
                if where is not None and value in names and counts[value] >= min_voxels:
                    case.structures.append(Structure(names[value], value, where))
        cases.append(case)
    return cases
