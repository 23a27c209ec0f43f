"""What a session learns from the scans that are complete: their embeddings, and the templates made of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from typing import Any

import numpy as np
from torch import Tensor

from medlsam.errors import MedlsamError
from medlsam.geometry import ExtremePoints, Grid
from medlsam.io.checks import check_same_grid
from medlsam.io.labelled_scans import TemplateCase, read_template_labels
from medlsam.localize.build_templates import Template, build_templates
from medlsam.localize.confidence.leave_one_out import LeftOut, tried
from medlsam.localize.confidence.outliers import CrossTable
from medlsam.localize.protocol import ScanEmbedding
from medlsam.localize.templates.template_set import TemplateSet
from medlsam.pipeline.drawn_masks import drawing_segmenter, with_drawn_masks
from medlsam.pipeline.model import MedLSAM
from medlsam.runtime.log_notes import log_notes
from medlsam.segment.protocol import Segmenter
from medlsam.viewer.annotate.scan_file import Answers
from medlsam.viewer.annotate.scans import Scan
from medlsam.viewer.annotate.structures import read_structures
from medlsam.volume import Image

#: Sets of templates that are kept: the one of all scans, and some without the scan that is looked at.
_KEPT_SETS = 4


@dataclass(frozen=True, eq=False)
class Built:
    """Templates made of what is complete.

    Attributes:
        templates: with their leave-one-out figures.
        trials: each structure of each scan, located by the others.
        table: the boxes that each scan's marks find alone in each other scan.
        left_out: scan to why it is not in, or what of it is not.
        warnings: what was said while they were made, of masks that were drawn.
    """

    templates: TemplateSet
    trials: tuple[LeftOut, ...]
    table: CrossTable
    left_out: Mapping[str, str]
    warnings: tuple[str, ...] = ()

    @property
    def notes(self) -> list[str]:
        """What somebody who marks should know: what is not in, and what is not as it should be."""
        return [*(f"{scan}: {why}" for scan, why in self.left_out.items()), *self.warnings]


@dataclass
class Learner:
    """Embeds scans and makes templates of them; both are kept, as long as nothing changes and there is room.

    Attributes:
        load: gives the model; called when it is first needed.
        memory_bytes: at most so much is kept of embeddings, but for the last one.
    """

    load: Callable[[], MedLSAM]
    memory_bytes: int
    _model: MedLSAM | None = None
    _embedded: OrderedDict[Any, tuple[ScanEmbedding, Grid, int]] = field(default_factory=OrderedDict)
    _built: OrderedDict[Any, Built | None] = field(default_factory=OrderedDict)

    @property
    def model(self) -> MedLSAM:
        """The model."""
        if self._model is None:
            self._model = self.load()
        return self._model

    def embedding(self, scan: Scan) -> tuple[ScanEmbedding, Grid]:
        """A scan's embedding and grid: one pass of the network where it is not kept.

        Raises:
            MedlsamError: the scan cannot be read.
        """
        key = (scan.name, scan.image_stamp())
        kept = self._embedded.pop(key, None)
        if kept is None:
            image = scan.image()
            # The look at it may just have made the file.
            key = (scan.name, scan.image_stamp())
            embedding = self.model.localizer.embed(image)
            kept = (embedding, image.grid, _bytes_of(embedding))
        self._embedded[key] = kept
        while (
            len(self._embedded) > 1 and sum(size for *_, size in self._embedded.values()) > self.memory_bytes
        ):
            self._embedded.popitem(last=False)
        return kept[0], kept[1]

    def learn(
        self, scans: Sequence[tuple[Scan, Answers]], values: Mapping[str, int], draw: bool = False
    ) -> Built | None:
        """Templates of the complete structures of these scans, each tried with the others.

        A scan that cannot be read is left out.

        Args:
            scans: of a session, each with its answers.
            values: structure to label value.
            draw: let sam-tiny draw masks in the boxes of the points, as ``medlsam template build`` does; some seconds
                for each scan, and of no use to what locates only.

        Returns:
            None where nothing is complete.
        """
        key = (tuple(_state_of(scan, answers) for scan, answers in scans), tuple(values.items()), draw)
        if key in self._built:
            self._built.move_to_end(key)
            return self._built[key]
        names = {value: name for name, value in values.items()}
        embeddings, left_out, warnings = dict[str, ScanEmbedding](), dict[str, str](), list[str]()

        def read() -> Iterator[Template]:
            """One after the other: all scans together might not fit into memory."""
            segmenter = cache(lambda: drawing_segmenter(self.model))
            for scan, answers in scans:
                why, points = _left_out(scan, answers), complete_points(answers, values)
                if why:
                    left_out[scan.name] = why
                if not points and scan.label_map is None:
                    continue
                try:
                    with log_notes(warnings):
                        template = self._template(scan, points, names, segmenter if draw else None)
                except MedlsamError as error:
                    left_out[scan.name] = str(error)
                    continue
                assert template.embedding is not None
                embeddings[scan.name] = template.embedding
                yield template

        # None of them, and the builder would call that an error.
        templates, built = read(), None
        first = next(templates, None)
        if first is not None:
            source = scans[0][0].folder.resolve().parent.name
            every = chain([first], templates)
            alone = build_templates(self.model.localizer, every, names, source=source, calibrate=False)
            whole, trials, table = tried(alone, embeddings)
            built = Built(whole, tuple(trials), table, left_out, tuple(warnings))
        self._built[key] = built
        while len(self._built) > _KEPT_SETS:
            self._built.popitem(last=False)
        return built

    def _template(
        self,
        scan: Scan,
        points: Mapping[str, ExtremePoints],
        names: dict[int, str],
        segmenter: Callable[[], Segmenter] | None,
    ) -> Template:
        embedding, grid = self.embedding(scan)
        label_map = scan.label_map
        if label_map is None and segmenter is not None:
            template = Template(scan.name, scan.image(), points=points, embedding=embedding)
            return with_drawn_masks(template, segmenter)
        if label_map is None:
            return Template(scan.name, blank(grid), points=points, embedding=embedding)
        own = {value: name for name, value in read_structures(scan.folder).items()} or names
        case = TemplateCase(scan.name, scan.case.path, label_map, None, tuple(own.items()))
        image, labels = scan.image(), read_template_labels(case, names)
        check_same_grid(image, labels)
        return Template(scan.name, image, labels, embedding=embedding)


def complete_points(answers: Answers, values: Mapping[str, int]) -> dict[str, ExtremePoints]:
    """The structures of a scan whose six points are there."""
    found = {name: marks.extremes for name, marks in answers.items() if name in values}
    return {name: points for name, points in found.items() if points is not None}


def blank(grid: Grid) -> Image:
    """An image that has a place and no values, for what looks at an embedding."""
    return Image(np.broadcast_to(np.int16(0), grid.shape_zyx), grid)


def _left_out(scan: Scan, answers: Answers) -> str:
    if scan.fault:
        return scan.fault
    unfinished = [
        f"{name} has {len(marks.points)} of 6 points"
        if len(marks.points) != 6
        else f"{name}: {marks.notes[0]}"
        for name, marks in answers.items()
        if marks.points and not marks.complete
    ]
    return ", ".join(unfinished)


def _state_of(scan: Scan, answers: Answers) -> Any:
    """What changes when the templates of a scan do."""
    points = tuple((name, marks.points, marks.complete) for name, marks in answers.items())
    labels = scan.label_map
    return scan.name, scan.image_stamp(), points, scan.fault, labels and labels.stat().st_mtime_ns


def _bytes_of(embedding: Any) -> int:
    """The bytes of the arrays that an embedding holds."""
    found = 0
    for part in vars(embedding).values():
        for array in part if isinstance(part, tuple | list) else (part,):
            if isinstance(array, Tensor):
                found += array.numel() * array.element_size()
            elif isinstance(array, np.ndarray):
                found += array.nbytes
    return found
