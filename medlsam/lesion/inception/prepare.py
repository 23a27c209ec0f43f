"""Labelled scans as arrays on disk, on the network's grid, from which patches are read without loading the whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medlsam.io.labelled_scans import TemplateCase
from medlsam.lesion.inception.plan import ScanPlan, read_labelled
from medlsam.runtime.atomic_files import atomic_path, write_json
from medlsam.volume.canonical import to_canonical
from medlsam.volume.hounsfield import LOWEST_HU
from medlsam.volume.resample import resample

#: Voxels of each class that a case remembers, for patches around lesions.
_PLACES = 5_000
_VERSION = 1


@dataclass(frozen=True)
class PreparedCase:
    """One scan on disk.

    Attributes:
        name: of the case.
        folder: with ``<name>.image.npy`` (int16 HU), ``<name>.labels.npy`` (uint8 classes), both (Z, Y, X), and
            ``<name>.places.npz``.
    """

    name: str
    folder: Path

    def image(self) -> NDArray[np.int16]:
        """Open the HU, (Z, Y, X); a view of the file."""
        opened: NDArray[np.int16] = np.load(self.folder / f"{self.name}.image.npy", mmap_mode="r")
        return opened

    def labels(self) -> NDArray[np.uint8]:
        """Open the classes, (Z, Y, X); a view of the file."""
        opened: NDArray[np.uint8] = np.load(self.folder / f"{self.name}.labels.npy", mmap_mode="r")
        return opened

    def places(self) -> dict[int, NDArray[np.int32]]:
        """Read the places of each class that is there, (n, 3) zyx."""
        with np.load(self.folder / f"{self.name}.places.npz") as file:
            return {int(key): file[key] for key in file.files}


def prepare_cases(
    cases: Sequence[TemplateCase],
    names: Mapping[int, str],
    plan: ScanPlan,
    folder: Path,
    on_progress: Callable[[str], None] | None = None,
) -> list[PreparedCase]:
    """Write the arrays of every case; what is there already and unchanged stays.

    Args:
        cases: with label maps.
        names: value to lesion.
        plan: the grid.
        folder: where to; made where it is not there.
        on_progress: gets the name of each case that is written.

    Raises:
        VolumeError, DatasetError, GeometryError: see ``read_labelled``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return [_prepare(case, names, plan, folder, on_progress) for case in cases]


def _prepare(
    case: TemplateCase,
    names: Mapping[int, str],
    plan: ScanPlan,
    folder: Path,
    on_progress: Callable[[str], None] | None,
) -> PreparedCase:
    made = PreparedCase(case.name, folder)
    record = folder / f"{case.name}.json"
    stamp = _stamp(case, plan)
    if record.is_file() and json.loads(record.read_text(encoding="utf-8")) == stamp:
        return made
    if on_progress is not None:
        on_progress(case.name)
    record.unlink(missing_ok=True)
    image, labels = read_labelled(case, names)
    grid = plan.grid(to_canonical(image).grid)
    hu = np.rint(np.clip(plan.resampled(image).array, LOWEST_HU, 32767)).astype(np.int16)
    table = np.zeros(max(value for value, _ in plan.names) + 1, np.uint8)
    for number, (value, _) in enumerate(plan.names, start=1):
        table[value] = number
    classes = table[resample(to_canonical(labels), grid).array]
    _save(folder / f"{case.name}.image.npy", hu)
    _save(folder / f"{case.name}.labels.npy", classes)
    with atomic_path(folder / f"{case.name}.places.npz") as temporary:
        np.savez(temporary, **_places(classes))
    write_json(record, stamp)  # last: what it vouches for is there
    return made


def _places(classes: NDArray[np.uint8]) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    found = {}
    for value in np.unique(classes):
        if value:
            places = np.flatnonzero(classes == value)
            if len(places) > _PLACES:
                places = rng.choice(places, _PLACES, replace=False)
            found[str(value)] = np.stack(np.unravel_index(places, classes.shape), 1).astype(np.int32)
    return found


def _save(path: Path, array: NDArray[Any]) -> None:
    with atomic_path(path) as temporary:
        np.save(temporary, array)


def _stamp(case: TemplateCase, plan: ScanPlan) -> Any:
    """What the arrays depend on, as JSON gives it back."""
    assert case.labels is not None, "an nnU-Net dataset has a label map of each scan"
    files = [[str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns] for f in (case.image, case.labels)]
    stamp = {"version": _VERSION, "files": files, "spacing_xyz": plan.spacing_xyz, "names": plan.names}
    return json.loads(json.dumps(stamp))
