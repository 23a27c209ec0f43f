"""What localization and segmentation answer: plain values, no network behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medlsam.geometry import Box, ExtremePoints
from medlsam.volume.volume import Image, LabelMap

Status = Literal["found", "uncertain", "missing", "out_of_view"]


@dataclass(frozen=True, eq=False)
class PartShape:
    """One connected part of a structure, in fractions of the structure's box (0 = min face, 1 = max face).

    Attributes:
        low: low corner of the part's box, (x, y, z).
        high: its high corner.
        profile: (S, 5) as ``LocatedStructure.profile``, in fractions of the part's own box; read-only.
    """

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    profile: NDArray[np.float32]

    def box_in(self, box: Box) -> Box:
        """The part's box in the structure's box, both LPS mm."""
        low, high = (np.asarray(box.min) + np.multiply(end, box.size) for end in (self.low, self.high))
        return Box(tuple(low.tolist()), tuple(high.tolist()))


@dataclass(frozen=True, eq=False)
class LocatedStructure:
    """One structure's answer in one scan. Points and boxes are LPS mm.

    Attributes:
        name: the structure.
        status: ``found``, ``uncertain``, ``missing`` or ``out_of_view``; the last two have no box to segment.
        confidence: 0 to 1.
        expected_error_mm: mean distance of a face from the truth that the templates lead to expect.
        points: six extreme points as located, or None where the structure is missing.
        box: of the mask once the structure is segmented, as located before that.
        located_box: as located; the same as ``box`` where nothing was segmented.
        prompt_box: ``located_box`` with the safety margin.
        slabs: boxes of consecutive slabs along z (SPL), low z first; empty where templates hold none.
        profile: (S, 5) rows ``t, x0, y0, x1, y1``: t in 0..1 from the low to the high z face of ``located_box``, the
            rest as fractions of its edges (0 = min face, 1 = max face).
        shape_prior: (D, H, W) mean mask of the templates, 0 to 1, voxel centres at (i + 0.5) / n of
            ``located_box``; read-only.
        details: the numbers that led to status and confidence.
        hu: quantiles of the HU inside of the templates' masks, low to high; empty where templates hold none.
        part_shapes: of a structure in several connected parts, each part's place in ``located_box``; empty for one in
            one part.
    """

    name: str
    status: Status
    confidence: float
    expected_error_mm: float | None = None
    points: ExtremePoints | None = None
    box: Box | None = None
    prompt_box: Box | None = None
    slabs: tuple[Box, ...] = ()
    profile: NDArray[np.float32] | None = None
    shape_prior: NDArray[np.float32] | None = None
    details: Mapping[str, float] = field(default_factory=dict)
    located_box: Box | None = None
    hu: tuple[float, ...] = ()
    part_shapes: tuple[PartShape, ...] = ()

    def __post_init__(self) -> None:
        if self.located_box is None:
            object.__setattr__(self, "located_box", self.box)

    @property
    def parts(self) -> int:
        """How many connected parts the structure has, by its templates."""
        return max(1, len(self.part_shapes))

    @property
    def present(self) -> bool:
        """Whether there is a box to segment in."""
        return self.status in ("found", "uncertain") and self.box is not None

    def to_dict(self) -> dict[str, Any]:
        """The structure's entry in ``localization.json``."""
        points = self.points
        return {
            "status": self.status,
            "confidence": round(self.confidence, 4),
            "expected_error_mm": None if self.expected_error_mm is None else round(self.expected_error_mm, 2),
            "extreme_points": None if points is None else np.round(points.array, 2).tolist(),
            "box": None if self.box is None else self.box.to_dict(),
            "located_box": None if self.located_box is None else self.located_box.to_dict(),
            "prompt_box": None if self.prompt_box is None else self.prompt_box.to_dict(),
            "details": {key: round(float(value), 4) for key, value in self.details.items()},
        }

    @classmethod
    def from_dict(cls, name: str, data: Mapping[str, Any]) -> LocatedStructure:
        """The inverse of ``to_dict`` (slabs, profile, shape prior, HU and parts are not stored there)."""
        points = data.get("extreme_points")
        return cls(
            name=name,
            status=data["status"],
            confidence=float(data["confidence"]),
            expected_error_mm=data.get("expected_error_mm"),
            points=None if points is None else ExtremePoints(tuple(tuple(p) for p in points)),
            box=None if data.get("box") is None else Box.from_dict(data["box"]),
            located_box=None if data.get("located_box") is None else Box.from_dict(data["located_box"]),
            prompt_box=None if data.get("prompt_box") is None else Box.from_dict(data["prompt_box"]),
            details=dict(data.get("details", {})),
        )


@dataclass(frozen=True, eq=False)
class Localization:
    """Every structure's answer in one scan.

    Attributes:
        case: the scan's name.
        organs: structure to answer.
        image: the scan itself, where it was kept for drawing.
    """

    case: str
    structures: dict[str, LocatedStructure]
    image: Image | None = None

    def show(self, window: str = "soft-tissue", image: Image | None = None) -> Any:
        """Show the located boxes over the scan, in a notebook.

        With the extra ``niivue``: three planes and the body, to go through with the mouse, and the table of
        structures with their colours. With ipywidgets alone: a slider through the axial slices. Without either:
        pictures, and a word about what to install. Calling it again shows the same widget.

        Args:
            window: of HU, by its name in ``medlsam.windows``.
            image: the scan; the one that was kept by default.

        Returns:
            What the notebook displays: a widget, or an object with HTML.

        Raises:
            UsageError: the localization keeps no scan and none was given, or there is no such window.
        """
        from medlsam.export.notebook import show_localization

        return show_localization(self, window, image)

    def _repr_html_(self) -> str:
        from medlsam.export.notebook import localization_html

        return localization_html(self)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        from medlsam.export.notebook import mimebundle

        return mimebundle(self.show)

    def to_dict(self) -> dict[str, Any]:
        """The content of ``localization.json``."""
        return {
            "case": self.case,
            "coordinate_system": "LPS",
            "units": "mm",
            "organs": {name: structure.to_dict() for name, structure in self.structures.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Localization:
        """The inverse of ``to_dict``."""
        structures = {name: LocatedStructure.from_dict(name, entry) for name, entry in data["organs"].items()}
        return cls(str(data["case"]), structures)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """One scan's label map with what led to it.

    Attributes:
        case: the scan's name.
        labels: label map (Z, Y, X) in the input's own geometry.
        names: label value to structure.
        localization: where each structure was located.
        seconds: wall seconds per stage.
        image: the scan itself, where it was kept for drawing.
        warnings: what a reader should know, such as prompts that fell back to another kind.
    """

    case: str
    labels: LabelMap
    names: dict[int, str]
    localization: Localization
    seconds: Mapping[str, float] = field(default_factory=dict)
    image: Image | None = None
    warnings: tuple[str, ...] = ()

    def show(self, window: str = "soft-tissue", image: Image | None = None) -> Any:
        """Show the masks over the scan, in a notebook.

        With the extra ``niivue``: three planes and the body, to go through with the mouse, and the table of
        structures with their colours. With ipywidgets alone: a slider through the axial slices. Without either:
        pictures, and a word about what to install. Calling it again shows the same widget.

        Args:
            window: of HU, by its name in ``medlsam.windows``.
            image: the scan; the one that was kept by default.

        Returns:
            What the notebook displays: a widget, or an object with HTML.

        Raises:
            UsageError: the segmentation keeps no scan and none was given, or there is no such window.
        """
        from medlsam.export.notebook import show_segmentation

        return show_segmentation(self, window, image)

    def _repr_html_(self) -> str:
        from medlsam.export.notebook import segmentation_html

        return segmentation_html(self)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        from medlsam.export.notebook import mimebundle

        return mimebundle(self.show)
