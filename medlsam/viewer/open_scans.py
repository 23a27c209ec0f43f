"""The scans and masks of a run that are looked at: each is read once, and only when it is needed."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Thread

from medlsam.errors import GeometryError, UsageError
from medlsam.export.run_results import RunResults, chosen
from medlsam.io.cases import read_case
from medlsam.io.labels import read_label_map
from medlsam.viewer.scans import Shelf, bytes_of
from medlsam.volume import Image, LabelMap, to_canonical

#: Bytes of label maps that are kept: one byte a voxel, where a scan has two.
LABELS_LIMIT = 300_000_000


@dataclass(frozen=True, eq=False)
class OpenImage:
    """A scan in its own geometry, and turned for the page; where it lies that way already, both share their voxels.

    Attributes:
        own: HU, as it was read.
        canonical: HU, its axes along LPS.
    """

    own: Image
    canonical: Image


@dataclass(frozen=True, eq=False)
class OpenLabels:
    """The masks of a scan, as ``OpenImage`` holds the scan."""

    own: LabelMap
    canonical: LabelMap


class OpenScans:
    """The scans of a run by their place in its list.

    Attributes:
        results: of the run.
    """

    def __init__(self, results: RunResults) -> None:
        self.results = results
        self._images = Shelf(self._read_image, lambda one: bytes_of(one.own.array))
        self._labels = Shelf(
            self._read_labels, lambda one: 0 if one is None else bytes_of(one.own.array), LABELS_LIMIT
        )

    def image(self, index: int) -> OpenImage:
        """Open a scan.

        Raises:
            UsageError: there is none, or it failed in the run.
            MedlsamError: it cannot be read any more.
        """
        return self._images.get(index)

    def labels(self, index: int) -> OpenLabels | None:
        """Open the masks of a scan; None where the run wrote none.

        Raises:
            GeometryError: the scan does not lie on their grid any more.
            MedlsamError: as ``image``.
        """
        return self._labels.get(index)

    def begin(self) -> None:
        """Begin to read what the page shows first, while the browser starts."""
        first = next((k for k, case in enumerate(self.results.cases) if not case.error), None)
        if first is not None:
            for work in (self._images, self._labels):
                Thread(target=_quietly, args=(work, first), daemon=True).start()

    def _read_image(self, index: int) -> OpenImage:
        case = chosen(self.results.cases, index)
        if case.error:
            raise UsageError(f"{case.name}: {case.error}")
        own = read_case(case.scan)
        return OpenImage(own, to_canonical(own))

    def _read_labels(self, index: int) -> OpenLabels | None:
        case = chosen(self.results.cases, index)
        if not case.labels.is_file():
            return None
        own = read_label_map(case.labels)
        image = self.image(index).own
        if not own.grid.matches(image.grid):
            raise GeometryError(
                f"{case.name}: the scan {case.scan.path} no longer lies on the grid of {case.labels}; segment it again"
            )
        return OpenLabels(own, to_canonical(own))


def _quietly(shelf: Shelf[int, OpenImage] | Shelf[int, OpenLabels | None], index: int) -> None:
    """Read ahead; whoever asks for it will be told what is wrong."""
    try:
        shelf.get(index)
    except Exception:
        return
