"""A folder of label maps, ours or nnU-Net's: which case is where, and what its values are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medlsam.data.layout import INSTANCE_FOLDERS
from medlsam.errors import UsageError, VolumeError
from medlsam.io.folders import IMAGE_SUFFIXES, case_name, visible
from medlsam.io.label_names import read_label_names
from medlsam.io.labels import read_label_map
from medlsam.runtime.atomic_files import suffix_of
from medlsam.volume import LabelMap

#: Label maps in a folder for each case: `medlsam segment` writes the first, templates folders have the second.
_IN_CASE_FOLDERS = ("segmentation", "labels")


@dataclass(frozen=True)
class LabelFolder:
    """Label maps by case.

    Attributes:
        path: the folder.
        files: case to its label map, sorted.
        names: value to name; None where no file says them.
        names_file: the file that says them.
    """

    path: Path
    files: Mapping[str, Path]
    names: Mapping[int, str] | None = None
    names_file: Path | None = None

    def read(self, case: str, names: Mapping[int, str]) -> LabelMap:
        """Read the label map of a case.

        Args:
            case: one of ``files``.
            names: value to name.

        Raises:
            VolumeError: it cannot be read, is no label map, or holds a value without a name.
        """
        labels = read_label_map(self.files[case])
        unknown = [int(value) for value in np.unique(labels.array) if value and int(value) not in names]
        if unknown:
            known = ", ".join(f"{value} {name}" for value, name in sorted(names.items()))
            raise VolumeError(
                f"{self.files[case]}: value {', '.join(map(str, unknown))} has no name (known: {known}); "
                f"add it to {self.names_file or 'a labels.json beside the label maps'}"
            )
        return labels


def find_label_folder(path: Path | str) -> LabelFolder:
    """Find the label maps of a folder; only the table of names is read.

    Args:
        path: holds ``<case>.nii.gz`` (nnU-Net's ``labelsTr`` and predictions), or ``<case>/segmentation.nii.gz``
            (what ``medlsam segment`` writes), or ``<case>/labels.nii.gz``. Names are in a ``labels.json`` or
            ``dataset.json`` in it or one level up.

    Raises:
        UsageError: no such folder, no label map in it, two of one case, or masks of single lesions as
            ``medlsam data`` writes them: their values are lesions, and no table of classes names them.
        TemplateError: a table of names is wrong.
    """
    path = Path(path)
    if not path.is_dir():
        raise UsageError(f"{path}: there is no such folder of label maps")
    if path.resolve().name in INSTANCE_FOLDERS:
        raise UsageError(
            f"{path}: holds a value for each lesion, not for each class; give labelsTr beside it"
        )
    files: dict[str, Path] = {}
    for entry in visible(path):
        file = _in_folder(entry) if entry.is_dir() else entry
        if file is None or suffix_of(file) not in IMAGE_SUFFIXES:
            continue
        case = case_name(entry)
        if case in files:
            raise UsageError(f"{path}: {files[case].name} and {file.name} are one case; keep one of them")
        files[case] = file
    if not files:
        raise UsageError(
            f"{path}: no label map in it; <case>.nii.gz, <case>/segmentation.nii.gz or <case>/labels.nii.gz "
            "was looked for"
        )
    places = (place / name for place in (path, path.parent) for name in ("labels.json", "dataset.json"))
    table = next((place for place in places if place.is_file()), None)
    return LabelFolder(path, files, read_label_names(table) if table else None, table)


def _in_folder(folder: Path) -> Path | None:
    files = (folder / f"{stem}{suffix}" for stem in _IN_CASE_FOLDERS for suffix in IMAGE_SUFFIXES)
    return next((file for file in files if file.is_file()), None)
