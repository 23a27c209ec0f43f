"""One scan whose masks a person corrects: boxes are dragged, points clicked, and the masks follow at once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from threading import RLock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medlsam.errors import UsageError
from medlsam.geometry import Box, Grid
from medlsam.option_fields import near
from medlsam.options import PromptOptions
from medlsam.pipeline.session.box_edit import segment_in_box
from medlsam.pipeline.session.checks import check_box, voxel_of
from medlsam.pipeline.session.click_edit import Ask, Index, apply_click
from medlsam.pipeline.session.click_network import asker
from medlsam.pipeline.session.history import History
from medlsam.pipeline.session.in_notebook import InNotebook
from medlsam.pipeline.session.mask import EMPTY, MaskPart, changed_slices, union
from medlsam.pipeline.session.own_geometry import Change, label_values, own_labels
from medlsam.pipeline.session.result import located
from medlsam.pipeline.session.values import Click, Edit, StructureState, Version
from medlsam.results import Localization, LocatedStructure, Segmentation
from medlsam.runtime.blas_threads import one_blas_thread
from medlsam.volume import Image, LabelMap, to_canonical

if TYPE_CHECKING:
    from medlsam.segment.protocol import Segmenter


@dataclass
class Session(InNotebook):
    """A scan, its structures, and what a person did to them. Made by ``MedLSAM.session``; safe to share by threads.

    Points and boxes are LPS mm. Each edit answers an ``Edit`` and takes back ``accept``.

    Attributes:
        start: what the session began with; without structures where it began empty.
        segmenter: the model that follows the edits.
        templates: structure to what templates know of it (profile, parts, HU), for structures without a mask.
        options: how structures are prompted.
        image: the scan, as it came.
        canonical: the scan on the canonical grid, HU.
    """

    start: Segmentation
    segmenter: Segmenter
    templates: Mapping[str, LocatedStructure] = field(default_factory=dict)
    options: PromptOptions = PromptOptions()  # noqa: RUF009
    image: Image = field(init=False)
    canonical: Image = field(init=False)

    def __post_init__(self) -> None:
        if self.start.image is None:
            raise UsageError(f"{self.start.case}: the segmentation holds no scan; give the scan as well")
        self.image = self.start.image
        self.canonical = to_canonical(self.image)
        self._lock, self._edits = RLock(), 0
        turned = to_canonical(replace(self.start.labels, grid=self.image.grid))
        self._histories: dict[str, History] = {}
        for value, name in self.start.names.items():
            mask = MaskPart.of(turned.array == value)
            known = self.start.localization.structures.get(name)
            box = mask.box(self.grid) or (known.box if known is not None and known.present else None)
            self._histories[name] = History([Version(mask, box, (), (mask, box))])

    @property
    def case(self) -> str:
        """The scan's name."""
        return self.start.case

    @property
    def grid(self) -> Grid:
        """The canonical grid, which ``mask`` and ``Edit.slices`` speak of."""
        return self.canonical.grid

    @property
    def names(self) -> dict[int, str]:
        """Label value to structure, new ones too."""
        with self._lock:
            values = label_values(self.start.names, self._histories)
        return {value: name for name, value in values.items()}

    @property
    def structures(self) -> dict[str, StructureState]:
        """How each structure stands."""
        with self._lock:
            return {name: self._history(name).state(name, self.grid) for name in self._histories}

    def move_box(self, name: str, box: Box) -> Edit:
        """Segment a structure in a box: a new one, or one of which somebody dragged a face.

        A dragged face changes the mask near itself alone (``session.drag``). Clicks that were made before still hold.

        Args:
            name: a structure, also one that the session does not have yet.
            box: LPS mm; it may reach beyond the scan.

        Raises:
            UsageError: an empty name.
            GeometryError: the box has no extent, or lies outside of the scan.
        """
        if not name:
            raise UsageError(f"{self.case}: a structure needs a name")
        check_box(name, box, self.grid, self.case)
        with self._lock, one_blas_thread():
            began = time.perf_counter()
            new = name not in self._histories
            history = History([Version(EMPTY, None, (), (EMPTY, None))]) if new else self._histories[name]
            now = history.now
            known = self.start.localization.structures.get(name)
            known = self.templates.get(name, known) or LocatedStructure(name, "found", 1.0)
            mask, base = segment_in_box(
                self.segmenter, self.canonical, known, (now.mask, now.base[0]), (now.box, box), self.options
            )
            for number, click in enumerate(now.clicks):
                mask = self._clicked(mask, click, now.clicks[:number], None)
            made = replace(now, mask=mask, box=box, base=(base, box), absent=False)
            self._histories[name] = history
            return self._edited(name, "move_box", made, began)

    def click(self, name: str, point: ArrayLike, inside: bool = True) -> Edit:
        """Say of a point that it belongs to a structure, or that it does not; see ``session.click_edit``.

        Args:
            name: a structure of the session.
            point: (3,) LPS mm, in the scan.
            inside: whether it belongs to the structure.

        Raises:
            UsageError: no such structure, or one without box and mask: give it a box first.
            GeometryError: the point lies outside of the scan.
        """
        with self._lock, one_blas_thread():
            began = time.perf_counter()
            now = self._history(name).now
            if now.box is None and not now.mask.array.size:
                raise UsageError(f"{name}: it has neither mask nor box to correct; give it a box first")
            x, y, z = (float(v) for v in np.asarray(point, dtype=float).ravel())
            click = Click((x, y, z), inside)
            place = self._voxel(click)
            # A click on a voxel that was clicked before takes its place.
            earlier = tuple(own for own in now.clicks if self._voxel(own) != place)
            points = [(self._voxel(own), own.inside) for own in (*earlier, click)]
            asked = asker(self.segmenter, self.canonical, name, place, points, self.options)
            mask = self._clicked(now.mask, click, earlier, asked)
            box = union(now.box, mask.box(self.grid)) if inside else now.box
            made = replace(now, mask=mask, box=box, clicks=(*earlier, click), absent=False)
            return self._edited(name, "click", made, began)

    def clear_clicks(self, name: str) -> Edit:
        """Go back to the mask without any click; ``undo`` brings them back.

        Raises:
            UsageError: no such structure.
        """
        with self._lock:
            began, now = time.perf_counter(), self._history(name).now
            mask, box = now.base
            return self._edited(name, "clear_clicks", replace(now, mask=mask, box=box, clicks=()), began)

    def absent(self, name: str) -> Edit:
        """Say that the scan does not hold a structure: it has no voxel and no box any more, until it gets a box.

        Raises:
            UsageError: no such structure.
        """
        with self._lock:
            began, now = time.perf_counter(), self._history(name).now
            made = replace(now, mask=EMPTY, box=None, clicks=(), base=(EMPTY, None), absent=True)
            return self._edited(name, "absent", made, began)

    def undo(self, name: str) -> Edit:
        """Take the last edit of a structure back, voxel by voxel.

        Raises:
            UsageError: no such structure, or nothing to undo.
        """
        return self._step(name, "undo", -1)

    def redo(self, name: str) -> Edit:
        """Do again what ``undo`` took back.

        Raises:
            UsageError: no such structure, or nothing to redo.
        """
        return self._step(name, "redo", 1)

    def accept(self, name: str) -> StructureState:
        """Take a structure as it is: ``result`` says so. The next edit takes that back.

        Raises:
            UsageError: no such structure.
        """
        with self._lock:
            self._history(name).accepted = True
            self._follow()
            return self._history(name).state(name, self.grid)

    def unaccept(self, name: str) -> StructureState:
        """Take ``accept`` back.

        Raises:
            UsageError: no such structure.
        """
        with self._lock:
            self._history(name).accepted = False
            self._follow()
            return self._history(name).state(name, self.grid)

    def mask(self, name: str) -> tuple[NDArray[np.bool_], Index]:
        """The mask of a structure as a trimmed block.

        Returns:
            (dz, dy, dx), read-only, and the index (z, y, x) of its first voxel on ``grid``; no voxel where it is empty.

        Raises:
            UsageError: no such structure.
        """
        with self._lock:
            found = self._history(name).now.mask
        return found.array, found.origin_zyx

    def labels(self) -> LabelMap:
        """The label map in the scan's own geometry; ``names`` says what its values mean.

        Where structures overlap, the one that was edited last has the voxel. Voxels that no edit changed are as they
        were.
        """
        with self._lock:
            values = label_values(self.start.names, self._histories)
            edited = [(name, own) for name, own in self._histories.items() if own.now.edits]
            changes = [
                Change(values[name], own.versions[0].mask, own.now.mask, own.now.clicks)
                for name, own in sorted(edited, key=lambda item: item[1].now.number)
            ]
        array = self.start.labels.array
        most = max(values.values(), default=0)
        if np.issubdtype(array.dtype, np.integer) and np.iinfo(array.dtype).max < most:
            array = array.astype(np.uint16)
        made = own_labels(array, changes, self.grid, self.image.grid)
        return replace(self.start.labels, array=made)

    def result(self) -> Segmentation:
        """The segmentation as it stands, with the boxes of the masks; see ``session.result`` for the statuses."""
        with self._lock:
            structures = dict(self.start.localization.structures)
            for name, history in self._histories.items():
                structures[name] = located(
                    structures.get(name), name, history.now, history.accepted, self.grid
                )
            labels, names = self.labels(), self.names
        localization = Localization(self.case, structures, self.image)
        return replace(self.start, labels=labels, names=names, localization=localization)

    def _history(self, name: str) -> History:
        if name not in self._histories:
            raise UsageError(
                f"{self.case}: there is no structure {name!r}{near(name, self._histories)}; there are: "
                f"{', '.join(self._histories) or 'none'}. Give it a box to begin with"
            )
        return self._histories[name]

    def _edited(self, name: str, action: str, version: Version, began: float) -> Edit:
        self._edits += 1
        history = self._history(name)
        before = history.now.mask
        history.add(replace(version, number=self._edits, edits=version.edits + 1))
        return self._answer(name, action, before, began)

    def _step(self, name: str, action: str, step: int) -> Edit:
        with self._lock:
            began, history = time.perf_counter(), self._history(name)
            before = history.now.mask
            history.step(name, action, step)
            return self._answer(name, action, before, began)

    def _answer(self, name: str, action: str, before: MaskPart, began: float) -> Edit:
        mask = self._history(name).now.mask
        slices = changed_slices(before, mask)
        volume = mask.voxels * self.grid.voxel_ml
        edit = Edit(name, action, slices, mask.box(self.grid), volume, time.perf_counter() - began)
        self._follow()
        return edit

    def _voxel(self, click: Click) -> Index:
        return voxel_of(click.point, self.grid, self.case)

    def _clicked(self, mask: MaskPart, click: Click, earlier: tuple[Click, ...], ask: Ask | None) -> MaskPart:
        opposite = [self._voxel(own) for own in earlier if own.inside is not click.inside]
        return apply_click(self.canonical, mask, self._voxel(click), click.inside, opposite, ask)
