"""Reference labels of an evaluation, and which of a case's structures may be scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from medlsam.errors import UsageError
from medlsam.geometry import Box, Grid, mask_box
from medlsam.io.checks import check_same_grid
from medlsam.io.folders import IMAGE_SUFFIXES
from medlsam.io.label_names import read_json, read_label_names
from medlsam.io.labels import read_label_map
from medlsam.volume import Image, LabelMap

Bounds = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class CaseReference:
    """The labels of one case.

    Attributes:
        labels: label map (Z, Y, X) in the scan's geometry.
        values: structure to label value, of the structures to score: labelled and complete.
        bounds: structure to the tight slices of its voxels in the array.
        absent: structures known not to be in the scan.
    """

    labels: LabelMap
    values: Mapping[str, int]
    bounds: Mapping[str, Bounds]
    absent: tuple[str, ...] = ()

    def mask(self, name: str, bounds: Bounds | None = None) -> NDArray[np.bool_]:
        """A structure's mask within ``bounds`` (its own where None)."""
        return np.asarray(self.labels.array[bounds or self.bounds[name]] == self.values[name])

    def box(self, name: str) -> Box:
        """A structure's tight box, LPS mm, voxel extents."""
        grid, bounds = self.labels.grid, self.bounds[name]
        mask = self.mask(name)
        x, y, z = grid.ijk_to_lps([axis.start for axis in reversed(bounds)])
        depth, height, width = mask.shape
        origin = (float(x), float(y), float(z))
        return mask_box(mask, Grid((depth, height, width), grid.spacing_xyz, origin, grid.direction))


@dataclass(frozen=True)
class References:
    """A folder of label maps with the names of its values.

    Attributes:
        folder: holds ``<case>.<suffix>`` or ``<case>/labels.<suffix>``.
        names: label value to structure; where each case has its own, the names of all, numbered anew.
        cases: ``cases`` of a ``cases.json``: per case lists ``complete`` and optionally ``absent``.
        own: case to the names in its own ``labels.json``, where there is no common file.
    """

    folder: Path
    names: Mapping[int, str]
    cases: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    own: Mapping[str, Mapping[int, str]] = field(default_factory=dict)

    def find(self, case: str) -> Path | None:
        """The label file of a case, or None. Nothing is opened."""
        for stem in (case, f"{case}/labels"):
            for suffix in IMAGE_SUFFIXES:
                path = self.folder / f"{stem}{suffix}"
                if path.is_file():
                    return path
        return None

    def read(self, case: str, image: Image | None = None) -> CaseReference:
        """Read the labels of a case.

        Args:
            case: its name.
            image: the scan whose grid the labels must be on, where known.

        Raises:
            UsageError: the case has no label file.
            GeometryError: the labels are not on the scan's grid.
        """
        path = self.find(case)
        if path is None:
            raise UsageError(
                f"{self.folder} holds no labels for case {case!r} ({case}.nii.gz was looked for)"
            )
        labels = read_label_map(path)
        if image is not None:
            check_same_grid(image, labels)
        entry, names = self.cases.get(case), self.own.get(case, self.names)
        found = find_objects(labels.array)
        bounds = {
            name: found[value - 1]
            for value, name in names.items()
            if value <= len(found) and found[value - 1] is not None
        }
        if entry is None:
            bounds = {name: place for name, place in bounds.items() if not touches_end(place, labels.grid)}
        else:
            bounds = {name: place for name, place in bounds.items() if name in entry.get("complete", ())}
        values = {name: value for value, name in names.items() if name in bounds}
        return CaseReference(labels, values, bounds, tuple(entry.get("absent", ())) if entry else ())


def touches_end(bounds: Bounds, grid: Grid) -> bool:
    """Whether a structure reaches the first or last slice along the body's long axis: it may be cut off.

    Args:
        bounds: its slices in the array (Z, Y, X).
        grid: its grid; the array axis nearest to the patient's head-foot axis is taken.
    """
    cosines = np.abs(np.asarray(grid.direction).reshape(3, 3))[2]
    axis = 2 - int(cosines.argmax())
    return bool(bounds[axis].start == 0 or bounds[axis].stop == grid.shape_zyx[axis])


def find_references(folder: Path, names: Mapping[int, str] | None = None) -> References:
    """The references of a labels folder; nothing but the JSON files beside it is read.

    Args:
        folder: an nnU-Net ``labelsTr`` (``dataset.json`` and ``cases.json`` one level up) or any folder of
            label maps with a ``labels.json`` or ``dataset.json`` in it, one level up, or a ``labels.json`` in each
            case's own folder.
        names: label value to structure; read from those files where None.

    Raises:
        UsageError: no such folder, no names, or a ``cases.json`` of another kind.
        TemplateError: a names file that is wrong.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UsageError(f"{folder}: not a folder of label maps")
    places, own = (folder, folder.parent), {}
    if names is None:
        for path in (place / file for place in places for file in ("labels.json", "dataset.json")):
            if path.is_file():
                names = read_label_names(path)
                break
        else:
            own = {file.parent.name: read_label_names(file) for file in sorted(folder.glob("*/labels.json"))}
            names = dict(
                enumerate(sorted({name for table in own.values() for name in table.values()}), start=1)
            )
        if not names:
            raise UsageError(
                f"{folder}: label names are needed: neither labels.json nor dataset.json lies in it or beside it, "
                "and no case in it has a labels.json of its own"
            )
    for path in (place / "cases.json" for place in places):
        if path.is_file():
            content = read_json(path, UsageError)
            cases = content.get("cases") if isinstance(content, dict) else None
            if not isinstance(cases, dict):
                raise UsageError(f'{path}: expected {{"cases": {{"<case>": {{"complete": [...]}}}}}}')
            return References(folder, dict(names), cases, own)
    return References(folder, dict(names), own=own)
