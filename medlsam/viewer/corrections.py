"""Corrections of a run's masks: every edit is saved at once, accepted masks become a labelled dataset.

The folder of the corrections is laid out as templates folders are (``<case>/image.*`` with ``<case>/labels.nii.gz``,
and one ``labels.json``), so ``medlsam template build`` and ``medlsam finetune`` read it. Beside a scan's labels lies
``edits.json``: what was dragged and clicked and not undone, from which the session is made again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock, RLock, Thread
from typing import TYPE_CHECKING, Any

import numpy as np

from medlsam.errors import MedlsamError, UsageError
from medlsam.export.run_results import ResultCase, chosen
from medlsam.io.label_names import read_label_names
from medlsam.io.write import write_volume
from medlsam.results import Localization, Segmentation
from medlsam.runtime.atomic_files import sha256_of, write_json
from medlsam.runtime.run_lock import run_lock
from medlsam.viewer.annotate.scan_image import bring_image
from medlsam.viewer.edits import EDITS_FILE, apply_edit, replay, write_edits
from medlsam.viewer.open_scans import OpenScans
from medlsam.volume import LabelMap

if TYPE_CHECKING:
    from medlsam.pipeline.model import MedLSAM
    from medlsam.pipeline.session import Edit, Session

LABELS_FILE = "labels.json"


@dataclass
class _Work:
    """A scan that is being corrected.

    Attributes:
        session: with the masks.
        done: structure to its edits, the last at the end; each knows its place among all edits of the scan.
        undone: structure to the edits that were taken back.
        count: edits so far.
    """

    session: Session
    done: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    undone: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    count: int = 0


class Corrections:
    """The corrections of a run. One process writes to their folder at a time; calls may come from several threads.

    Attributes:
        scans: of the run.
        results: of the run.
        folder: of the corrections; made with the first edit.
    """

    def __init__(self, scans: OpenScans, folder: str | Path, load: Callable[[], MedLSAM]) -> None:
        self.scans, self.results, self.folder = scans, scans.results, Path(folder)
        self._load = load
        self._model: MedLSAM | None = None
        self._lock, self._held = RLock(), ExitStack()
        self._work: dict[int, _Work] = {}
        self._sums: dict[int, str] = {}
        self._opening = Lock()
        self._begun: set[int] = set()
        self._faults: dict[int, MedlsamError] = {}
        self._alone = False

    def close(self) -> None:
        """Let others write to the folder; nothing is left to save."""
        self._held.close()

    @property
    def model(self) -> MedLSAM:
        """The model, loaded when it is first needed."""
        with self._lock:
            if self._model is None:
                self._model = self._load()
            return self._model

    def begun(self, index: int) -> bool:
        """Whether a scan is being corrected in this process, or was in an earlier one."""
        return index in self._work or (self._folder_of(index) / EDITS_FILE).is_file()

    def ready(self, index: int) -> bool:
        """Whether the session of a scan is open; else it is opened in the background, which takes seconds.

        Raises:
            MedlsamError: it could not be opened.
        """
        with self._opening:
            if index in self._work:
                return True
            if error := self._faults.pop(index, None):
                raise error
            if index not in self._begun:
                self._begun.add(index)
                Thread(target=self._open_quietly, args=(index,), daemon=True).start()
            return False

    def _open_quietly(self, index: int) -> None:
        try:
            self._open(index)
        except MedlsamError as error:
            self._faults[index] = error
        finally:
            self._begun.discard(index)

    def session(self, index: int) -> Session:
        """The session of a scan; edits of an earlier process are made again.

        Raises:
            UsageError: no such scan, it failed, or its edits cannot be read.
            MedlsamError: the scan or its masks cannot be read.
        """
        return self._open(index).session

    def edit(self, index: int, structure: str, action: str, what: Mapping[str, Any]) -> Edit:
        """Change a mask, and save how.

        Args:
            index: of the scan.
            structure: to change.
            action: ``box`` (``box``: LPS mm), ``click`` (``point``: LPS mm, ``inside``), ``clear``, ``absent``,
                ``undo`` or ``redo``.
            what: of the action.

        Raises:
            UsageError: another action, or as ``Session`` says.
        """
        with self._lock:
            self._hold()
            work = self._open(index)
            state = work.session.structures.get(structure)
            if action in ("undo", "redo"):
                made = work.session.undo(structure) if action == "undo" else work.session.redo(structure)
                source, target = (work.done, work.undone) if action == "undo" else (work.undone, work.done)
                if source.get(structure):
                    target.setdefault(structure, []).append(source[structure].pop())
            else:
                entry = {"structure": structure, "action": action, **what}
                made = apply_edit(work.session, entry)
                work.count += 1
                work.done.setdefault(structure, []).append({"number": work.count, **entry})
                work.undone.pop(structure, None)
            self._save(index, work)
            if state is not None and state.accepted:
                # an edit takes the acceptance back, and a mask that nobody accepts is no label
                self._write_labels(index, work.session)
            return made

    def accept(self, index: int, structure: str, accepted: bool = True) -> None:
        """Take a mask as it is, or take that back; the labels of the scan are written anew.

        Raises:
            UsageError: no such structure, or the folder cannot be written.
        """
        with self._lock:
            self._hold()
            work = self._open(index)
            (work.session.accept if accepted else work.session.unaccept)(structure)
            self._save(index, work)
            self._write_labels(index, work.session)

    @property
    def accepted(self) -> list[str]:
        """Names of the scans with labels."""
        if not self.folder.is_dir():
            return []
        return sorted(path.parent.name for path in self.folder.glob("*/labels.nii.gz"))

    def _hold(self) -> None:
        """Keep other processes from writing to the folder, from the first change on."""
        if not self._alone:
            self._held.enter_context(run_lock(self.folder))
            self._alone = True

    def _folder_of(self, index: int) -> Path:
        return self.folder / chosen(self.results.cases, index).name

    def _open(self, index: int) -> _Work:
        with self._lock:
            if index not in self._work:
                case = chosen(self.results.cases, index)
                if case.error:
                    raise UsageError(f"{case.name}: {case.error}")
                start = self._segmentation(index, case)
                work = _Work(self.model.session(self.scans.image(index).own, segmentation=start))
                for entry in replay(work.session, self._folder_of(index) / EDITS_FILE, self._masks(index)):
                    work.done.setdefault(entry["structure"], []).append(entry)
                    work.count = max(work.count, entry["number"])
                self._work[index] = work
            return self._work[index]

    def _segmentation(self, index: int, case: ResultCase) -> Segmentation:
        """What the run answered for a scan."""
        located = {entry.structure: entry.located for entry in case.entries}
        names = {value: name for name, value in self.results.values.items() if name in located}
        masks = self.scans.labels(index)
        if masks is None:
            raise UsageError(f"{case.name}: {case.labels} is not there, so there is no mask to correct")
        return Segmentation(case.name, masks.own, names, Localization(case.name, located))

    def _save(self, index: int, work: _Work) -> None:
        edits = sorted(
            (entry for own in work.done.values() for entry in own), key=lambda entry: entry["number"]
        )
        accepted = [name for name, state in work.session.structures.items() if state.accepted]
        folder = self._folder_of(index)
        folder.mkdir(parents=True, exist_ok=True)
        write_edits(folder / EDITS_FILE, self._masks(index), edits, accepted)

    def _masks(self, index: int) -> str:
        """Sign the run's masks, which the edits belong to."""
        if index not in self._sums:
            self._sums[index] = sha256_of(chosen(self.results.cases, index).labels)
        return self._sums[index]

    def _write_labels(self, index: int, session: Session) -> None:
        """Write the accepted masks of a scan, and the scan beside them."""
        folder = self._folder_of(index)
        states = session.structures
        names = {value: name for value, name in session.names.items() if states[name].accepted}
        if not any(states[name].mask_bounds is not None for name in names.values()):
            (folder / "labels.nii.gz").unlink(missing_ok=True)
            return
        bring_image(chosen(self.results.cases, index).scan, folder)
        values = self._values(names)
        labels = session.labels()
        table = np.zeros(max(int(labels.array.max()), *names) + 1, np.uint16)
        for value, name in names.items():
            table[value] = values[name]
        write_json(self.folder / LABELS_FILE, values)
        write_volume(LabelMap(table[labels.array], labels.grid, labels.source), folder / "labels.nii.gz")

    def _values(self, names: Mapping[int, str]) -> dict[str, int]:
        """Structure to value in the folder: those that are there keep theirs."""
        file = self.folder / LABELS_FILE
        values = {name: value for value, name in read_label_names(file).items()} if file.is_file() else {}
        for value, name in names.items():
            if name not in values:
                taken = set(values.values())
                values[name] = value if value not in taken else max(taken) + 1
        return values
