"""The scans of a session: which there are, the answers in their folders, and every change to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from medlsam.errors import GeometryError, MedlsamError, TemplateError, UsageError
from medlsam.geometry import Grid, Vector
from medlsam.io.case_folders import one_image
from medlsam.io.cases import Case, check_unique
from medlsam.io.folders import visible
from medlsam.io.labelled_scans import POINTS_FILE
from medlsam.io.read import open_file, read_image
from medlsam.viewer.annotate.history import History, renamed
from medlsam.viewer.annotate.marks import StructureMarks
from medlsam.viewer.annotate.scan_file import Answers, read_answers, write_answers
from medlsam.viewer.annotate.scan_image import bring_image
from medlsam.volume import Image

#: A click may lie so many voxels outside of the voxels of a scan: on the rim of its picture.
_RIM_VOXELS = 0.5


@dataclass
class Scan:
    """One scan of a session.

    Attributes:
        case: where it comes from.
        folder: its folder in the templates folder; made with the first look at it.
        answers: structure to its answer, as the file has them.
        fault: why the file with the answers cannot be used; it is left as it is.
        history: what can be undone.
    """

    case: Case
    folder: Path
    answers: Answers = field(default_factory=dict)
    fault: str = ""
    history: History = field(default_factory=History)
    _stamp: tuple[int, int, int] | None = None
    _image: Path | None = None
    _grid: Grid | None = None
    _bringing: RLock = field(default_factory=RLock, repr=False)

    @property
    def name(self) -> str:
        """The case's name."""
        return self.case.name

    @property
    def label_map(self) -> Path | None:
        """The label map beside the image, which marks the structures of this scan; None for most."""
        return one_image(self.folder, "labels") if self.folder.is_dir() else None

    def refresh(self) -> None:
        """Read the answers again if somebody else has written the file: Slicer, say. Then nothing can be undone."""
        stamp = _stamp_of(self.folder / POINTS_FILE)
        if stamp == self._stamp and not self.fault:
            return
        if stamp != self._stamp:
            self.history.clear()
        self._stamp, self.fault = stamp, ""
        try:
            self.answers = read_answers(self.folder)
        except MedlsamError as error:
            self.answers, self.fault = {}, str(error)

    def write(self, answers: Mapping[str, StructureMarks]) -> None:
        """Write answers; they are safe in the file when this returns.

        Raises:
            TemplateError: the file that is there cannot be read, so it is not written over.
            UsageError: it cannot be written.
        """
        if self.fault:
            raise TemplateError(f"{self.fault}; mend or remove this file first, it is not written over")
        try:
            write_answers(self.folder, answers)
        except OSError as error:
            raise UsageError(f"{self.folder}: cannot be written ({error.strerror or error})") from error
        self.answers = dict(answers)
        self._stamp = _stamp_of(self.folder / POINTS_FILE)

    def bring(self) -> Image | None:
        """Have the image in the folder, checked once; the image where it had to be read."""
        with self._bringing:
            if self._image is not None and self._image.is_file():
                return None
            try:
                self._image, image = bring_image(self.case, self.folder)
            except OSError as error:
                raise UsageError(f"{self.folder}: cannot be written ({error.strerror or error})") from error
            return image

    def image(self) -> Image:
        """The scan, HU, from its own folder."""
        image = self.bring()
        if image is None:
            assert self._image is not None
            image = read_image(self._image)
        self._grid = image.grid
        return image

    def grid(self) -> Grid:
        """Where its voxels lie; the values are not read where the folder has the image."""
        if self._grid is None:
            image = self.bring()
            if image is not None:
                self._grid = image.grid
            else:
                assert self._image is not None
                with open_file(self._image) as opened:
                    self._grid = opened.grid
        return self._grid

    def image_stamp(self) -> tuple[int, int, int] | None:
        """What changes when the image does."""
        return _stamp_of(one_image(self.folder, "image"))

    def rename(self, old: str, new: str) -> None:
        """Give a structure another name; one that has it already is left as it is."""
        if old in self.answers and new not in self.answers:
            self.write(renamed(self.answers, old, new))
        self.history.rename(old, new)

    def inside(self, point: ArrayLike) -> Vector:
        """A point (LPS mm) as three numbers that lie in the scan.

        Raises:
            GeometryError: it lies outside, or is no place.
        """
        array = np.asarray(point, dtype=float)
        if array.shape != (3,) or not np.isfinite(array).all():
            raise GeometryError(
                f"{self.name}: a point has three finite coordinates (LPS mm), got {array.tolist()}"
            )
        grid = self.grid()
        ijk = grid.lps_to_ijk(array)
        most = np.asarray(grid.shape_zyx[::-1]) - 0.5 + _RIM_VOXELS
        if (ijk < -0.5 - _RIM_VOXELS).any() or (ijk > most).any():
            raise GeometryError(
                f"{self.name}: the point {np.round(array, 1).tolist()} (LPS mm) lies outside of the scan, which "
                f"goes from {np.round(grid.box.min, 1).tolist()} to {np.round(grid.box.max, 1).tolist()}"
            )
        x, y, z = array.tolist()
        return (x, y, z)


@dataclass(frozen=True)
class ScanAnswers:
    """What is known of one scan.

    Attributes:
        case: its name.
        marks: every structure of the session to its answer; an empty one where there is none yet.
        labelled: a label map marks its structures; points are not taken here.
        fault: why nothing can be marked here; empty for most.
        can_undo: whether there is a change to undo.
        can_redo: whether an undone change can be done again.
    """

    case: str
    marks: Mapping[str, StructureMarks]
    labelled: bool = False
    fault: str = ""
    can_undo: bool = False
    can_redo: bool = False

    @property
    def done(self) -> bool:
        """Whether every structure is complete or not in this scan."""
        return self.labelled or (bool(self.marks) and all(marks.answered for marks in self.marks.values()))

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, for a page."""
        return {
            "case": self.case,
            "marks": {name: marks.to_dict() for name, marks in self.marks.items()},
            "labelled": self.labelled,
            "fault": self.fault,
            "can_undo": self.can_undo,
            "can_redo": self.can_redo,
            "done": self.done,
        }


def find_scans(cases: Sequence[Case], output: Path) -> dict[str, Scan]:
    """The given scans, and those that are in the templates folder already, by name.

    Raises:
        UsageError: two scans of one name, a name that a templates folder cannot have, or a folder of another kind.
    """
    if (output / "dataset.json").is_file():
        raise UsageError(f"{output}: this is an nnU-Net dataset; give another folder for the templates")
    if one_image(output, "image") is not None:
        raise UsageError(f"{output}: this is the folder of one scan; give the folder above it, or a new one")
    inside = output.resolve()
    given = [case for case in cases if not _is_copy(case, inside)]
    check_unique(given)
    for case in given:
        if case.name.startswith((".", "__")):
            raise UsageError(f"{case.path}: folders called {case.name!r} are passed over; rename the scan")
    known = {case.name for case in given}
    own = []
    for folder in visible(output) if output.is_dir() else []:
        image = one_image(folder, "image") if folder.is_dir() else None
        if image is not None and folder.name not in known:
            own.append(Case(folder.name, image))
    return {case.name: Scan(case, output / case.name) for case in [*given, *own]}


def _is_copy(case: Case, output: Path) -> bool:
    """Whether a given scan is one that lies in the templates folder, found there under another name."""
    place = case.path.resolve()
    return (
        place.name.startswith("image.") and place.parent.parent == output and case.name != place.parent.name
    )


def _stamp_of(path: Path | None) -> tuple[int, int, int] | None:
    if path is None:
        return None
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size
