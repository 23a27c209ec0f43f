"""One annotation session: the folder with its clicks, and what the scans so far say of the next one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from threading import RLock

import numpy as np

from medlsam.errors import TemplateError, UsageError
from medlsam.geometry import FACES
from medlsam.io.cases import Case
from medlsam.localize.templates.template_set import TemplateSet
from medlsam.pipeline.model import MedLSAM, load
from medlsam.viewer.annotate.agreement import Agreement, agreement_of
from medlsam.viewer.annotate.folder import AnnotatedFolder
from medlsam.viewer.annotate.learning import Built, Learner, blank
from medlsam.viewer.annotate.marks import StructureMarks
from medlsam.viewer.annotate.proposals import Proposal
from medlsam.viewer.annotate.scans import Scan

#: Embeddings are kept up to so much; that of a whole body is near a gigabyte.
MEMORY_BYTES = 2 * 1024**3


class AnnotationProject(AnnotatedFolder):
    """Templates in the making. The folder is the state: what a call has changed is in its files when it returns.

    It is a templates folder (``<case>/image.*`` with ``<case>/extreme_points.mrk.json``, and ``labels.json``)
    that Slicer opens and ``medlsam template build`` reads at any moment. Scans that it holds already belong to the
    session. One process writes to it at a time. Calls may come from several threads: a click is saved while another
    call embeds a scan. Use it as a context manager, or ``close`` it. All places are LPS mm.

    Args:
        scans: as ``medlsam.io.cases.find_cases`` finds them.
        output: the templates folder; made where there is none, gone on with where there is one.
        support: a ``.medlsam`` file or a templates folder whose structures are proposed; the complete scans of the
            session itself propose what it lacks.
        model: locates and makes templates, or a function that loads it; one with the default options is loaded when it
            is first needed.
        memory_bytes: at most so much is kept of embedded scans.

    Raises:
        UsageError: somebody else is at work in the folder (who is named), two scans have one name, or the folder is of
            another kind.
        TemplateError: ``labels.json`` cannot be read.
    """

    def __init__(
        self,
        scans: Sequence[Case],
        output: Path | str,
        support: Path | str | None = None,
        model: MedLSAM | Callable[[], MedLSAM] | None = None,
        *,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        super().__init__(scans, output)
        self._support = None if support is None else Path(support)
        self._supported: TemplateSet | None = None
        self._proposed: dict[tuple[str, str], Proposal] = {}
        self._learning = RLock()
        self._learner = Learner(
            (lambda: model) if isinstance(model, MedLSAM) else model or load, memory_bytes
        )

    def rename_structure(self, old: str, new: str) -> str:
        """As ``AnnotatedFolder.rename_structure``; what was proposed under the old name is forgotten."""
        name = super().rename_structure(old, new)
        self._proposed.clear()
        return name

    def propose(self, case: str, structures: Sequence[str] | None = None) -> dict[str, Proposal]:
        """Locate structures in a scan by the templates so far, the scan's own marks left out.

        The first call for a scan embeds it, which takes seconds.

        Args:
            case: the scan.
            structures: only these; by default all that are known and not answered in this scan.

        Returns:
            Structure to what was located; nothing for structures of which there is no template yet.

        Raises:
            MedlsamError: the scan or the support cannot be read.
        """
        with self._lock:
            scan = self._scan(case)
            answered = {name for name, marks in scan.answers.items() if marks.answered}
        found: dict[str, Proposal] = {}
        with self._learning:
            for source in (self._support_set, lambda: self._own_set(scan)):
                templates = source()
                known = () if templates is None else templates.structures
                wanted = [
                    name
                    for name in known
                    if name not in found
                    and (name not in answered if structures is None else name in structures)
                ]
                if templates is None or not wanted:
                    continue
                embedding, grid = self._learner.embedding(scan)
                located = self._learner.model.localize(
                    blank(grid), templates, case=case, embedding=embedding, organs=wanted
                )
                found |= {name: Proposal.of(one) for name, one in located.structures.items()}
        with self._lock:
            self._proposed |= {(case, name): proposal for name, proposal in found.items()}
        return found

    def accept(self, case: str, structure: str) -> StructureMarks:
        """Take the six points that were proposed last; correct them afterwards as any others.

        Raises:
            UsageError: nothing was proposed, or it was not found there; else as ``place``.
        """
        with self._lock:
            proposal = self._proposed.get((case, structure))
            if proposal is None or proposal.points is None:
                why = "nothing was proposed yet" if proposal is None else proposal.message
                raise UsageError(f"{case}: there are no points of {structure} to accept: {why}")
            box = self._markable(case).grid().box
            # What was located may reach out of the scan by the expected error.
            points = np.clip(proposal.points.array, box.min, box.max).tolist()
            found = {face: (x, y, z) for face, (x, y, z) in zip(FACES, points, strict=True)}
            return self._change(case, structure, lambda marks: StructureMarks(found).settled())

    def agreement(self) -> Agreement:
        """How the complete scans agree, by locating each with the others; what changed since is computed anew."""
        with self._learning:
            built = self._learn(draw=True)
        if built is None:
            return agreement_of(None, (), None, self.cases, self.structures)
        return agreement_of(built.templates, built.trials, built.table, self.cases, self.structures)

    def build(self, file: Path | str) -> Built:
        """Write a ``.medlsam`` file of what is complete, as ``medlsam template build`` would.

        Returns:
            The templates, and what was left out and why.

        Raises:
            TemplateError: nothing is complete.
            UsageError: the file cannot be written.
        """
        file = Path(file)
        if file.is_dir():
            raise UsageError(f"{file}: this is a folder; name a file, such as {file / 'templates.medlsam'}")
        with self._learning:
            built = self._learn(draw=True)
        if built is None:
            raise TemplateError(
                f"{self.output}: no structure is complete in any scan, so there is nothing to build; place six "
                "points of one"
            )
        try:
            built.templates.save(file)
        except OSError as error:
            raise UsageError(f"{file}: cannot be written ({error.strerror or error})") from error
        return built

    def _learn(self, without: Scan | None = None, draw: bool = False) -> Built | None:
        with self._lock:
            scans = [scan for scan in self._scans.values() if scan is not without]
            for scan in scans:
                scan.refresh()
            answers = [(scan, scan.answers) for scan in scans]
            values = dict(self._structures)
        return self._learner.learn(answers, values, draw)

    def _own_set(self, without: Scan) -> TemplateSet | None:
        built = self._learn(without)
        return None if built is None else built.templates

    def _support_set(self) -> TemplateSet | None:
        if self._support is not None and self._supported is None:
            self._supported = self._learner.model.templates(self._support)
        return self._supported
