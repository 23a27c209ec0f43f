"""The pictures of a scan in one small file of its folder: made when it is segmented, read by the report."""

from __future__ import annotations

import base64
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scipy import ndimage

from medlsam.errors import GeometryError, VolumeError
from medlsam.export.thumbnails.projections import draw_projections
from medlsam.export.thumbnails.raster import Picture
from medlsam.export.thumbnails.three_planes import Labelled, draw_three_planes
from medlsam.results import Localization, Segmentation
from medlsam.runtime.atomic_files import sha256_of, write_json
from medlsam.volume import Image, LabelMap

_log = logging.getLogger(__name__)
#: In each scan's folder.
THUMBNAILS_FILE = "thumbnails.json"
_FORMAT = 1
_WEBP = re.compile(r"UklGR[A-Za-z0-9+/]+={0,2}")
_LARGEST = 4000


@dataclass(frozen=True, eq=False)
class Drawn:
    """A picture that a page can hold.

    Attributes:
        base64: the WebP file as ASCII letters.
        width: pixels.
        height: pixels.
    """

    base64: str
    width: int
    height: int

    @classmethod
    def of(cls, picture: Picture) -> Drawn:
        """From a picture that was just drawn."""
        return cls(base64.b64encode(picture.webp).decode("ascii"), picture.width, picture.height)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {"width": self.width, "height": self.height, "webp": self.base64}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Drawn:
        """The inverse of ``to_dict``; what is no picture, and might be code, does not pass.

        Raises:
            ValueError: no WebP as base64, or no size.
        """
        content, width, height = data["webp"], data["width"], data["height"]
        if not (isinstance(content, str) and _WEBP.fullmatch(content)):
            raise ValueError("no WebP")
        if not all(type(size) is int and 0 < size <= _LARGEST for size in (width, height)):
            raise ValueError(f"no size of a picture: {width!r} x {height!r}")
        return cls(content, width, height)


@dataclass(frozen=True, eq=False)
class Thumbnails:
    """The pictures of a scan.

    Attributes:
        structures: structure to its three planes; those without a voxel are left out.
        boxes: the located boxes on two projections; None where nothing was located.
        legend: structures in the order of the projections' colours.
    """

    structures: Mapping[str, Drawn] = field(default_factory=dict)
    boxes: Drawn | None = None
    legend: tuple[str, ...] = ()


def draw_thumbnails(
    image: Image,
    labels: LabelMap,
    values: Mapping[str, int],
    localization: Localization,
    search: bool = False,
    reference: LabelMap | None = None,
) -> Thumbnails:
    """Draw every structure that has a mask, and the located boxes.

    Args:
        image: the scan, HU.
        labels: its label map.
        values: structure to label value.
        localization: where structures were located; ``box`` is the mask's.
        search: look for each mask in the whole label map: what earlier versions wrote as ``box`` is not the mask's.
        reference: a label map with the same values to draw beside it, in any geometry.

    Raises:
        GeometryError: scan and label map do not lie on one grid.
    """
    if not labels.grid.matches(image.grid):
        raise GeometryError("the scan no longer lies on the grid of its label map; segment it again")
    places = ndimage.find_objects(labels.array) if search else []
    present = [structure for structure in localization.structures.values() if structure.present]
    drawn = {}
    for structure in present:
        value = values.get(structure.name, 0)
        place = places[value - 1] if 0 < value <= len(places) else None
        if value == 0 or (search and place is None):
            continue
        compared = None if reference is None else Labelled(reference, value)
        picture = draw_three_planes(image, Labelled(labels, value), structure, place, compared)
        if picture is not None:
            drawn[structure.name] = Drawn.of(picture)
    boxes = Drawn.of(draw_projections(image, present)) if present else None
    return Thumbnails(drawn, boxes, tuple(structure.name for structure in present))


def write_thumbnails(segmentation: Segmentation, image: Image, folder: Path) -> None:
    """Draw a scan's pictures and write them beside its label map, whose sum they keep.

    Args:
        segmentation: of the scan; its label map is written already.
        image: the scan as read.
        folder: the scan's.
    """
    values = {name: value for value, name in segmentation.names.items()}
    made = draw_thumbnails(image, segmentation.labels, values, segmentation.localization)
    content = {
        "format": _FORMAT,
        "labels_sha256": sha256_of(folder / "segmentation.nii.gz"),
        "structures": {name: picture.to_dict() for name, picture in made.structures.items()},
        "boxes": None if made.boxes is None else made.boxes.to_dict(),
        "legend": list(made.legend),
    }
    write_json(folder / THUMBNAILS_FILE, content)


def try_thumbnails(segmentation: Segmentation, image: Image, folder: Path) -> list[str]:
    """Write a scan's pictures; the masks are there without them, so that drawing fails is a warning only.

    Returns:
        The warning, if there is one.

    Raises:
        OSError: the file cannot be written, as the others could not.
    """
    try:
        write_thumbnails(segmentation, image, folder)
    except OSError:
        raise
    except Exception as error:
        # Not louder: the answer is a warning already, and what is logged louder becomes another one.
        _log.info("the pictures of %s could not be drawn", segmentation.case, exc_info=True)
        return [f"no pictures for the report: {type(error).__name__}: {error}"]
    return []


def read_thumbnails(folder: Path) -> Thumbnails:
    """Read a scan's pictures.

    Args:
        folder: the scan's.

    Raises:
        VolumeError: there are none, they are damaged, or the masks were changed since they were drawn.
    """
    path = folder / THUMBNAILS_FILE
    if not path.is_file():
        raise VolumeError(
            f"{path}: there is none; an earlier version wrote these results, or a warning says why"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != _FORMAT:
            raise ValueError(f"format {content['format']!r}")
        structures = {str(name): Drawn.from_dict(entry) for name, entry in content["structures"].items()}
        boxes = None if content["boxes"] is None else Drawn.from_dict(content["boxes"])
        legend = tuple(str(name) for name in content["legend"])
        made_of = str(content["labels_sha256"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise VolumeError(f"{path}: cannot be read ({error})") from error
    labels = folder / "segmentation.nii.gz"
    if not labels.is_file() or sha256_of(labels) != made_of:
        raise VolumeError(f"{labels}: was changed after its pictures were made")
    return Thumbnails(structures, boxes, legend)
