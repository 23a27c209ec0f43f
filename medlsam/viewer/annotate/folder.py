"""A templates folder in the making: its scans and structures, and every click saved before the call returns."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from medlsam.errors import TemplateError, UsageError
from medlsam.geometry import FACES, ExtremePoints
from medlsam.io.cases import Case
from medlsam.option_fields import near
from medlsam.runtime.atomic_files import remove_stale
from medlsam.runtime.run_lock import run_lock
from medlsam.viewer.annotate.marks import StructureMarks, checked_face
from medlsam.viewer.annotate.scans import Scan, ScanAnswers, find_scans
from medlsam.viewer.annotate.structures import (
    LABELS_FILE,
    add_structure,
    finish_renaming,
    read_structures,
    rename_structure,
)
from medlsam.volume import Image

_log = logging.getLogger(__name__)


class AnnotatedFolder:
    """The folder is the state: what a call has changed is in its files when it returns.

    Args:
        scans: as ``medlsam.io.cases.find_cases`` finds them.
        output: the templates folder; made where there is none, gone on with where there is one.

    Raises:
        UsageError: somebody else is at work in the folder (who is named), two scans have one name, or the folder is of
            another kind.
        TemplateError: ``labels.json`` cannot be read.
    """

    def __init__(self, scans: Sequence[Case], output: Path | str) -> None:
        self.output = Path(output)
        self._lock = RLock()
        with ExitStack() as stack:
            alone = stack.enter_context(run_lock(self.output))
            self._scans = find_scans(scans, self.output)
            if not self._scans:
                raise UsageError(f"{self.output}: there is no scan to annotate")
            self._open(alone)
            self._held = stack.pop_all()

    def _open(self, alone: bool) -> None:
        """Read what is in the folder, and finish what a kill interrupted."""
        if alone:
            for folder in (self.output, *(scan.folder for scan in self._scans.values())):
                remove_stale(folder, ".tmp-*", seconds=0)
        for scan in self._scans.values():
            scan.refresh()
        self._structures = finish_renaming(self.output, read_structures(self.output), self._rename_in_scans)
        drawn = {
            name for scan in self._scans.values() for name in (*scan.answers, *read_structures(scan.folder))
        }
        for name in sorted(drawn - set(self._structures)):
            _log.warning(
                "%s: %s is marked in a scan and not named there; added", self.output / LABELS_FILE, name
            )
            self._structures = add_structure(self.output, self._structures, name)

    def close(self) -> None:
        """Let others write to the folder; nothing is left to save."""
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def cases(self) -> tuple[str, ...]:
        """The scans: those given in their order, then those that only the folder has."""
        return tuple(self._scans)

    @property
    def structures(self) -> tuple[str, ...]:
        """The structures, as ``labels.json`` names them."""
        return tuple(self._structures)

    def scan(self, case: str) -> ScanAnswers:
        """What is known of a scan.

        Raises:
            UsageError: there is no such scan.
        """
        with self._lock:
            scan = self._scan(case)
            marks = {name: scan.answers.get(name, StructureMarks()) for name in self._structures}
            fault = scan.fault or scan.case.fault
            past = scan.history
            labelled = scan.label_map is not None
            return ScanAnswers(case, marks, labelled, fault, bool(past.before), bool(past.undone))

    def image(self, case: str) -> Image:
        """A scan to look at: HU, (Z, Y, X). From the first look on it lies in the templates folder.

        Raises:
            UsageError: there is no such scan, or the folder has another image under its name.
            VolumeError: it cannot be read; that costs no other scan.
        """
        with self._lock:
            return self._scan(case).image()

    def add_structure(self, name: str) -> str:
        """Add a structure to the session; returns the name as it is kept.

        Raises:
            UsageError: the name is empty or no name, or there is one like it.
        """
        with self._lock:
            self._structures = add_structure(self.output, self._structures, name)
            return list(self._structures)[-1]

    def rename_structure(self, old: str, new: str) -> str:
        """Give a structure another name in all scans; a kill in between is made good at the next start.

        Returns:
            The name as it is kept.

        Raises:
            UsageError: there is no such structure, one is called like that, or a scan's own ``labels.json`` names it.
            TemplateError: the file of a scan cannot be read, so the old name would stay there.
        """
        with self._lock:
            for scan in self._scans.values():
                scan.refresh()
                if scan.fault:
                    raise TemplateError(
                        f"{scan.fault}; mend or remove it first: the old name would stay there"
                    )
                if old in read_structures(scan.folder):
                    raise UsageError(f"{scan.folder / LABELS_FILE}: names {old!r} too; rename it there first")
            place = list(self._structures).index(old) if old in self._structures else 0
            self._structures = rename_structure(
                self.output, self._structures, old, new, self._rename_in_scans
            )
            return list(self._structures)[place]

    def _rename_in_scans(self, old: str, new: str) -> None:
        for scan in self._scans.values():
            if scan.fault:
                _log.warning("%s; the name %s stays there", scan.fault, old)
            else:
                scan.rename(old, new)

    def place(self, case: str, structure: str, point: ArrayLike, face: str | None = None) -> StructureMarks:
        """Place a point, or move the one of a face there. A structure that is new is added.

        Args:
            case: the scan.
            structure: the structure.
            point: (3,) LPS mm.
            face: ``x-`` to ``z+``; open where None: the points get faces when six are there.

        Returns:
            The answer as it is saved.

        Raises:
            UsageError: no such scan or face, six points are there already, or the scan has a label map.
            GeometryError: the point lies outside of the scan.
            VolumeError: the scan cannot be read.
            TemplateError: the file with the scan's answers cannot be read; it is not written over.
        """
        with self._lock:
            place = self._markable(case).inside(point)
            return self._change(case, structure, lambda marks: marks.with_point(place, face))

    def set_points(self, case: str, structure: str, points: ExtremePoints | ArrayLike) -> StructureMarks:
        """Give a structure six points at once, for the faces x-, x+, y-, y+, z-, z+; errors as ``place``."""
        array = points.array if isinstance(points, ExtremePoints) else np.asarray(points, dtype=float)
        if array.shape != (6, 3):
            raise UsageError(
                f"six points of three coordinates are needed, got an array of shape {array.shape}"
            )
        with self._lock:
            scan = self._markable(case)
            found = {face: scan.inside(point) for face, point in zip(FACES, array, strict=True)}
            return self._change(case, structure, lambda marks: StructureMarks(found).settled())

    def move_face(self, case: str, structure: str, face: str, position_mm: float) -> StructureMarks:
        """Drag a face: move its point along the face's axis.

        Where another point reaches further out, the box ends there and not at the face: ``off_box`` and ``notes`` of
        the answer say so.

        Args:
            case: the scan.
            structure: the structure.
            face: ``x-`` to ``z+``.
            position_mm: where to, on the face's axis, LPS mm.

        Raises:
            MedlsamError: as ``place``; also where the face has no point.
        """
        checked_face(face)
        with self._lock:
            scan = self._markable(case)
            moved = scan.answers.get(structure, StructureMarks()).with_face_at(face, position_mm)
            for point in moved.points:
                scan.inside(point)
            return self._change(case, structure, lambda marks: moved)

    def remove_point(self, case: str, structure: str, which: str | int) -> StructureMarks:
        """Take a point away: that of a face, or one without a face by its number from 0; errors as ``place``."""
        return self._change(case, structure, lambda marks: marks.without_point(which))

    def remove(self, case: str, structure: str) -> StructureMarks:
        """Take a structure out of a scan: all its points, or the answer "not in this scan"; errors as ``place``."""
        return self._change(case, structure, lambda marks: StructureMarks())

    def mark_absent(self, case: str, structure: str) -> StructureMarks:
        """Answer "not in this scan"; points of it go (and come back with ``undo``). Errors as ``place``."""
        return self._change(case, structure, lambda marks: StructureMarks(absent=True))

    def undo(self, case: str) -> ScanAnswers:
        """Take back the last change of a scan in this session.

        Raises:
            UsageError: there is none, or Slicer has written the file since.
        """
        with self._lock:
            scan = self._markable(case)
            if not scan.history.before:
                raise UsageError(f"{case}: there is nothing to undo")
            now = scan.answers
            scan.write(scan.history.before[-1])
            scan.history.back(now)
            return self.scan(case)

    def redo(self, case: str) -> ScanAnswers:
        """Do again what was undone last in a scan.

        Raises:
            UsageError: there is nothing.
        """
        with self._lock:
            scan = self._markable(case)
            if not scan.history.undone:
                raise UsageError(f"{case}: there is nothing to do again")
            now = scan.answers
            scan.write(scan.history.undone[-1])
            scan.history.forth(now)
            return self.scan(case)

    def _scan(self, case: str) -> Scan:
        """A scan by its name, its answers as the file has them now."""
        if case not in self._scans:
            raise UsageError(
                f"there is no scan {case!r}{near(case, self._scans)}; there are {', '.join(self._scans)}"
            )
        scan = self._scans[case]
        scan.refresh()
        return scan

    def _markable(self, case: str) -> Scan:
        """A scan that takes points, its image in its folder."""
        scan = self._scan(case)
        if scan.label_map is not None:
            raise UsageError(
                f"{scan.label_map}: this label map marks the structures of {case}; correct it instead"
            )
        scan.bring()
        return scan

    def _change(
        self, case: str, structure: str, change: Callable[[StructureMarks], StructureMarks]
    ) -> StructureMarks:
        """Change one answer, and save it. The structure is named in ``labels.json`` before a scan has it."""
        with self._lock:
            scan = self._markable(case)
            before = scan.answers
            marks = change(scan.answers.get(structure, StructureMarks()))
            if structure not in self._structures:
                structure = self.add_structure(structure)
            after = {**before, structure: marks}
            if not marks.points and not marks.absent:
                del after[structure]
            if after != before:
                scan.write(after)
                scan.history.changed(before)
            return marks
