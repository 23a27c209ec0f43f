"""The template set: embeddings read at the marked places of a few scans. Holds no image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medlsam.errors import TemplateError
from medlsam.geometry import Box, ExtremePoints
from medlsam.localize.templates.adapted import AdaptedDecoder
from medlsam.localize.templates.anchors import Anchors
from medlsam.localize.templates.issues import TemplateIssue
from medlsam.option_fields import near

#: How far the faces of a box follow the probe (see ``probe_trust``); one for each axis (x, y, z).
Trust = Literal["none", "gentle", "strong"]
AxisTrust = tuple[Trust, Trust, Trust]
#: Where nothing could be tried: a single template profits along every axis.
DEFAULT_TRUST: AxisTrust = ("gentle", "gentle", "gentle")
#: Voxels of a stored shape along (z, y, x) of the structure's box.
SHAPE_SIZE = (32, 32, 32)
#: Results that depend on a structure's templates alone (mean shape, probe) are computed once, not for every scan, and
#: kept for this many structures, with their templates (some 0.1 MB each).
KEPT_STRUCTURES = 128


@dataclass(frozen=True, eq=False)
class StructureTemplate:
    """One structure in one template.

    The points are the six extreme points (x-, x+, y-, y+, z-, z+), then landmarks in and around the structure
    (the same lattice in every template's box). Places are LPS mm of the template's scan; only differences between
    them are used.

    Attributes:
        template: name of the template scan.
        points: (P, 3) LPS mm.
        latents: (P, 3) latent positions there (RDR).
        features: (P, F) stacked unit features there (MSS).
        slab_points: (S, 6, 3) extreme points of slabs along z (SPL), low z first; S may be 0.
        slab_latents: (S, 6, 3).
        slab_features: (S, 6, F).
        shape: (D, H, W) uint8, the mask in its box, 255 for inside; size 0 where only points were given.
        profile: (T, 5) rows t, x0, y0, x1, y1 (see ``LocatedStructure.profile``); size 0 likewise.
        probe_gram: upper triangle of the probe's Gram matrix (see ``search.boundary_probe``); size 0 likewise.
        probe_target: (F + 7,) the probe's sums; size 0 likewise.
        inside: (9,) quantiles of the intensities inside (see ``confidence.intensity``); size 0 likewise.
        node_points: (N, 3) LPS mm, places in and around the structure (see ``templates.nodes``); N is 0 for networks in
            which each would cost a pass.
        node_features: (N, F) stacked unit features there.
        hu: (19,) quantiles of the HU in the mask; size 0 where only points were given, and in older files.
        part_boxes: (P, 2, 3) of each connected part of the mask (see ``templates.parts``); P is 0 where it has one.
        part_profiles: (P, 32, 5) likewise.
    """

    template: str
    points: NDArray[np.float32]
    latents: NDArray[np.float32]
    features: NDArray[np.float32]
    slab_points: NDArray[np.float32]
    slab_latents: NDArray[np.float32]
    slab_features: NDArray[np.float32]
    shape: NDArray[np.uint8]
    profile: NDArray[np.float32]
    probe_gram: NDArray[np.float32]
    probe_target: NDArray[np.float32]
    inside: NDArray[np.float32]
    node_points: NDArray[np.float32]
    node_features: NDArray[np.float32]
    hu: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    part_boxes: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 2, 3), np.float32))
    part_profiles: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 32, 5), np.float32))

    @property
    def parts(self) -> int:
        """How many connected parts the structure has; 1 where only points were given."""
        return max(1, len(self.part_boxes))

    @property
    def box(self) -> Box:
        """The structure's box in the template, LPS mm."""
        return ExtremePoints(tuple(tuple(p) for p in self.points[:6])).box


@dataclass(frozen=True)
class StructureCalibration:
    """Figures of leave-one-out: each template located with the others, so with one template fewer than in use.

    Attributes:
        n: templates that could be tried; 0 where the numbers are not this structure's own.
        face_error_mm: mean absolute error of the six faces (x-, x+, y-, y+, z-, z+).
        margin_mm: per face; 90 % of all faces lie within this distance of the located one.
        similarity: usual similarity of the located places.
        iou: mean box IoU.
        usual: the usual value of every number in ``Evidence``.
        probe_trust: how far the box's faces follow the probe along x, y, z (``reach`` in the file).
    """

    n: int
    face_error_mm: tuple[float, ...]
    margin_mm: tuple[float, ...]
    similarity: float
    iou: float
    usual: Mapping[str, float] = field(default_factory=dict)
    probe_trust: AxisTrust = DEFAULT_TRUST


@dataclass(frozen=True, eq=False)
class TemplateSet:
    """Structures to look for, each with its templates.

    Attributes:
        values: structure name to label value.
        by_structure: structure name to its templates (a template may lack a structure).
        signature: of the localizer that made it; another localizer cannot read it.
        calibration: structure name to its leave-one-out result; empty where nothing was tried.
        source: where it came from, for reports.
        issues: the templates that do not fit the others, the worst first (``findings`` in the file).
        outlier_scores: template to structure to its distance from the others, in units of an alarm (1; ``misfit`` in
            the file).
        anchors: template to the places by which another scan is aligned with its scan; empty for networks that compare
            no whole scans.
        adapted: the segmenter's decoder adapted to the templates, where that was asked for.
    """

    values: dict[str, int]
    by_structure: dict[str, tuple[StructureTemplate, ...]]
    signature: str
    calibration: dict[str, StructureCalibration] = field(default_factory=dict)
    source: str = ""
    issues: tuple[TemplateIssue, ...] = ()
    outlier_scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    anchors: Mapping[str, Anchors] = field(default_factory=dict)
    adapted: AdaptedDecoder | None = None

    @property
    def structures(self) -> tuple[str, ...]:
        """The structures, in the order of their label values."""
        return tuple(sorted(self.by_structure, key=lambda name: self.values[name]))

    @property
    def template_names(self) -> tuple[str, ...]:
        """The templates that hold at least one structure."""
        return tuple(sorted({s.template for group in self.by_structure.values() for s in group}))

    def select(self, organs: Iterable[str]) -> TemplateSet:
        """Only these structures.

        Raises:
            TemplateError: one of them is not in the set.
        """
        organs = list(organs)
        unknown = [name for name in organs if name not in self.by_structure]
        if unknown:
            raise TemplateError(
                f"no template has {', '.join(unknown)}{near(unknown[0], self.structures)}; there are: "
                f"{', '.join(self.structures)}"
            )
        return replace(
            self,
            values={name: self.values[name] for name in organs},
            by_structure={name: self.by_structure[name] for name in organs},
            calibration={name: c for name, c in self.calibration.items() if name in organs},
            issues=tuple(f for f in self.issues if set(f.structures) & set(organs)),
            outlier_scores={
                s: {o: v for o, v in own.items() if o in organs} for s, own in self.outlier_scores.items()
            },
            adapted=self.adapted and self.adapted.select(dict.fromkeys(organs)),
        )

    def without(self, template: str) -> TemplateSet:
        """All but one template (for leave-one-out); structures that only it has are left out."""
        rest = {
            name: tuple(s for s in group if s.template != template)
            for name, group in self.by_structure.items()
        }
        rest = {name: group for name, group in rest.items() if group}
        values = {name: self.values[name] for name in rest}
        anchors = {name: own for name, own in self.anchors.items() if name != template}
        return replace(
            self,
            by_structure=rest,
            values=values,
            calibration={},
            issues=(),
            outlier_scores={},
            anchors=anchors,
            adapted=None,
        )

    def save(self, path: str | Path) -> None:
        """Write one ``.medlsam`` file; see ``template_file``."""
        from medlsam.localize.templates.template_file import write_template_file

        write_template_file(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> TemplateSet:
        """Read a ``.medlsam`` file.

        Raises:
            TemplateError: the file is absent, damaged, of another kind, or of a newer format.
        """
        from medlsam.localize.templates.template_file import read_template_file

        return read_template_file(Path(path))
