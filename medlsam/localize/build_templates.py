"""Build a template set: embed the labelled scans, read them off at landmarks, locate each with the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medlsam.errors import TemplateError
from medlsam.geometry import ExtremePoints, Grid, filled
from medlsam.io.checks import check_same_grid
from medlsam.localize.confidence.intensity import spread_inside
from medlsam.localize.confidence.leave_one_out import calibrated
from medlsam.localize.localizer import Localizer
from medlsam.localize.protocol import ScanEmbedding
from medlsam.localize.search.boundary_probe import probe_sums
from medlsam.localize.templates.anchors import Anchors, read_anchors
from medlsam.localize.templates.landmarks import places
from medlsam.localize.templates.nodes import node_places
from medlsam.localize.templates.outline import outline_of_points
from medlsam.localize.templates.parts import NO_BOXES, NO_PROFILES, read_parts
from medlsam.localize.templates.shape import shape_in_box, slice_profile
from medlsam.localize.templates.template_set import StructureTemplate, TemplateSet
from medlsam.runtime.blas_threads import one_blas_thread
from medlsam.volume import Image, LabelMap, to_canonical

#: SPL: a slab is at least this thick, and there are at most six (as published).
SLAB_MM = 15.0
MOST_SLABS = 6
#: Of the HU in a mask; the ends are left out, where neighbours and metal are.
HU_QUANTILES = np.linspace(0.05, 0.95, 19)


@dataclass(frozen=True, eq=False)
class Template:
    """One template scan: its image, and a label map or extreme points (LPS mm) per structure.

    Attributes:
        name: of the scan.
        image: HU. Where there is an embedding and no label map, only its grid counts.
        labels: its label map.
        points: structure to extreme points, where there is no label map.
        embedding: of the image by the same localizer, where it was embedded before.
        drawn: masks (Z, Y, X) of structures with ``points``, as a segmenter drew them, on the canonical grid of the
            image (``medlsam.pipeline.drawn_masks``); the points stay what they are.
    """

    name: str
    image: Image
    labels: LabelMap | None = None
    points: Mapping[str, ExtremePoints] | None = None
    embedding: ScanEmbedding | None = None
    drawn: Mapping[str, NDArray[np.bool_]] | None = None


def slab_count(mask: NDArray[np.bool_], grid: Grid) -> int:
    """Count the slabs of at least 15 mm along z that a mask can be cut into, at most six (SPL)."""
    levels = filled(mask, 0)
    return min(MOST_SLABS, int((levels[-1] - levels[0] + 1) * grid.spacing_xyz[2] / SLAB_MM))


def slab_points(mask: NDArray[np.bool_], grid: Grid, count: int) -> NDArray[np.float64]:
    """Find the extreme points of a mask's slabs along z, (count, 6, 3) LPS mm; (0, 6, 3) for fewer than two slabs."""
    levels = filled(mask, 0)
    found = []
    for part in np.array_split(np.arange(levels[0], levels[-1] + 1), max(count, 1)):
        slab = np.zeros_like(mask)
        slab[part] = mask[part]
        if count < 2 or not slab.any():
            return np.zeros((0, 6, 3))
        found.append(ExtremePoints.from_mask(slab, grid).array)
    return np.stack(found)


@dataclass(frozen=True, eq=False)
class _Mark:
    """One structure of one template before its features are read."""

    template: str
    points: ExtremePoints
    mask: NDArray[np.bool_] | None
    grid: Grid
    hu: NDArray[np.float32]


def _structure_template(
    structure: str, mark: _Mark, embedding: ScanEmbedding, slabs: int
) -> StructureTemplate:
    box = mark.points.box
    if min(box.size) <= 0:
        raise TemplateError(
            f"{mark.template}: the extreme points of {structure} span no volume: {box.to_dict()}"
        )
    marked = places(mark.points, mark.mask, mark.grid)[embedding.landmarks]
    latents, features = embedding.read(marked)
    cut = slab_points(mark.mask, mark.grid, slabs) if mark.mask is not None else np.zeros((0, 6, 3))
    slab_latents, slab_features = embedding.read(cut.reshape(-1, 3))
    # A patch network needs a pass for each place.
    nodes = node_places(box, mark.mask, mark.grid) if embedding.independent else np.zeros((0, 3))
    gram = target = inside = np.zeros(0, np.float32)
    shape, part_boxes, part_profiles = np.zeros(0, np.uint8), NO_BOXES, NO_PROFILES
    if mark.mask is not None:
        gram, target = probe_sums(embedding, mark.mask, mark.grid, box, features.shape[1])
        shape = shape_in_box(mark.mask, mark.grid, box)
        inside = spread_inside(embedding, shape.astype(np.float32) / np.float32(255), box)
        part_boxes, part_profiles = read_parts(mark.mask, mark.grid, box)
    return StructureTemplate(
        template=mark.template,
        points=marked.astype(np.float32),
        latents=latents.numpy(),
        features=features.numpy(),
        slab_points=cut.astype(np.float32),
        slab_latents=slab_latents.numpy().reshape(-1, 6, 3),
        slab_features=slab_features.numpy().reshape(len(cut), 6, features.shape[1]),
        shape=shape,
        profile=(
            outline_of_points(mark.points) if mark.mask is None else slice_profile(mark.mask, mark.grid, box)
        ),
        probe_gram=gram,
        probe_target=target,
        inside=inside,
        node_points=nodes.astype(np.float32),
        node_features=embedding.read(nodes)[1].numpy(),
        hu=mark.hu,
        part_boxes=part_boxes,
        part_profiles=part_profiles,
    )


def _marks(template: Template, names: Mapping[int, str]) -> dict[str, _Mark]:
    """Map structure names to marks: extreme points and, where there is one, the mask on the canonical grid."""
    if template.labels is not None:
        check_same_grid(template.image, template.labels)
        labels, image = to_canonical(template.labels), to_canonical(template.image)
        present = {int(v) for v in np.unique(labels.array)} - {0}
        unknown = sorted(present - set(names))
        if unknown:
            raise TemplateError(
                f"{template.labels.path or template.name}: label value {unknown[0]} is not named in labels.json "
                f"(named are {', '.join(map(str, sorted(names)))}); name it or remove it"
            )
        if not present:
            raise TemplateError(f"{template.labels.path or template.name}: the label map is empty")
        found = {}
        for value in sorted(present):
            mask = labels.array == value
            points = ExtremePoints.from_mask(mask, labels.grid)
            found[names[value]] = _Mark(template.name, points, mask, labels.grid, _hu(image, mask))
        return found
    if not template.points:
        raise TemplateError(
            f"{template.name}: a template needs a label map or extreme points; it has neither"
        )
    unknown_names = sorted(set(template.points) - set(names.values()))
    if unknown_names:
        raise TemplateError(
            f"{template.name}: structure {unknown_names[0]!r} of the markups is not in labels.json"
        )
    # What nobody drew a mask in need not be turned.
    image, drawn = to_canonical(template.image) if template.drawn else template.image, template.drawn or {}
    return {
        name: _Mark(template.name, points, drawn.get(name), image.grid, _hu(image, drawn.get(name)))
        for name, points in template.points.items()
    }


def _hu(image: Image, mask: NDArray[np.bool_] | None) -> NDArray[np.float32]:
    """Quantiles of the HU in a mask; none where there is no mask."""
    if mask is None:
        return np.zeros(0, np.float32)
    return np.asarray(np.quantile(image.array[mask], HU_QUANTILES), dtype=np.float32)


@one_blas_thread()
def build_templates(
    localizer: Localizer,
    scans: Iterable[Template],
    names: Mapping[int, str],
    organs: Iterable[str] | None = None,
    source: str = "",
    calibrate: bool = True,
    on_progress: Callable[[str], None] | None = None,
) -> TemplateSet:
    """Build a template set from a few labelled scans.

    Args:
        localizer: the encoder; the set works with this one only.
        scans: the template scans, read one at a time; each may lack structures.
        names: label value to structure name.
        organs: only these structures; all where None.
        source: a note on where they came from.
        calibrate: locate each template with the others (leave-one-out) for margins and expected errors, and to find
            templates that do not fit.
        on_progress: called with a short text after each template.

    Raises:
        TemplateError: a template without marks, an unnamed label, an empty label map, no structure at all.
        GeometryError: image and labels lie on different grids.
    """
    wanted = None if organs is None else set(organs)
    marks: dict[str, list[_Mark]] = {}
    embeddings: dict[str, ScanEmbedding] = {}
    anchors: dict[str, Anchors] = {}
    for template in scans:
        if template.name in embeddings:
            raise TemplateError(f"two templates are called {template.name!r}; names must differ")
        own = {
            structure: mark
            for structure, mark in _marks(template, names).items()
            if wanted is None or structure in wanted
        }
        for structure, mark in own.items():
            marks.setdefault(structure, []).append(mark)
        embedding = template.embedding
        if embedding is None:
            embedding = localizer.embed(template.image)
        embeddings[template.name] = embedding
        read = read_anchors(embedding, [mark.points.box for mark in own.values()]) if own else None
        if read is not None:
            anchors[template.name] = read
        if on_progress:
            on_progress(f"embedded template {template.name}")
    groups = {}
    for structure, group in marks.items():
        # As published, the shortest template decides into how many slabs all of them are cut.
        slabs = min((slab_count(m.mask, m.grid) for m in group if m.mask is not None), default=0)
        groups[structure] = tuple(
            _structure_template(structure, mark, embeddings[mark.template], slabs) for mark in group
        )
    missing = sorted((wanted or set()) - set(groups))
    if missing or not groups:
        raise TemplateError(
            f"no template marks {', '.join(missing) or 'any structure'}; "
            f"labels.json names {', '.join(names.values())}"
        )
    values = {name: value for value, name in names.items() if name in groups}
    templates = TemplateSet(values, groups, localizer.signature, {}, source, anchors=anchors)
    if not calibrate:
        return templates
    return calibrated(templates, embeddings)
