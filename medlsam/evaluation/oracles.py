"""Oracle rows beside ``located``: prompts from the truth, and the templates' mean shape without a segmenter.

Only here may a label steer a prompt. The oracle rows go through the same prompt policy, segmenter and
assembly as ``located``, so that the difference between rows is the difference between boxes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from medlsam.evaluation.references import Bounds, CaseReference
from medlsam.evaluation.scores import NOT_OFFERED
from medlsam.geometry import Box, map_box
from medlsam.measure.metrics import NSD_TOLERANCE_MM, MaskScores, mask_scores
from medlsam.options import InferenceOptions, PromptOptions
from medlsam.results import LocatedStructure, Segmentation
from medlsam.volume import Image, from_canonical, to_canonical

if TYPE_CHECKING:
    from medlsam.segment.label_map import MaskBlock
    from medlsam.segment.protocol import Segmenter
    from medlsam.segment.request import SegmentationRequest


def in_true_box(structure: LocatedStructure, truth: Box) -> LocatedStructure:
    """A perfectly located structure: the true box, with the slabs scaled along.

    The profile and the mean shape are fractions of the box and need no change.

    Args:
        structure: as located; where it is missing its best guess, if any, still frames the slabs.
        truth: the label's tight box, LPS mm.
    """
    slabs: tuple[Box, ...] = ()
    if structure.located_box is not None:
        slabs = tuple(map_box(slab, structure.located_box, truth) for slab in structure.slabs)
    return replace(
        structure, status="found", box=truth, located_box=truth, prompt_box=truth, points=None, slabs=slabs
    )


def in_true_slices(
    question: SegmentationRequest, mask: NDArray[np.bool_], options: PromptOptions
) -> SegmentationRequest:
    """The same prompts with the true box of every slice, and of every part in it, in every plane that is segmented.

    Masks are not propagated: the true boxes say where the structure is and where it ends.

    Args:
        question: in the true 3D box.
        mask: (Z, Y, X) the truth in the canonical scan.
        options: of the prompts.
    """
    from medlsam.pipeline.prompts import refined
    from medlsam.segment.planes import SIDES
    from medlsam.segment.prompts import oracle_parts

    count = 1 + max((prompt.part for prompt in question.prompts), default=0)
    turned = {turn.name: turn.array(mask) for turn in SIDES if turn.name in question.sides}
    sides = {name: refined(oracle_parts(m, count), options, m.shape[1:]) for name, m in turned.items()}
    boxes = refined(oracle_parts(mask, count), options, mask.shape[1:])
    return replace(question, prompts=boxes, sides=sides, propagation=None)


def score_oracles(
    segmenter: Segmenter,
    segmentation: Segmentation,
    reference: CaseReference,
    options: InferenceOptions,
    tolerance_mm: float = NSD_TOLERANCE_MM,
) -> dict[str, dict[str, MaskScores]]:
    """Score the masks of every row, for the structures that were looked for and have a reference.

    Args:
        segmenter: makes the oracle rows.
        segmentation: finished, with its volume; made without the labels.
        reference: the case's labels, on the scan's grid.
        options: those that ``segmentation`` was made with.
        tolerance_mm: of the NSD.

    Returns:
        Structure to row (see ``scores.ROWS``) to scores.
    """
    structures = segmentation.localization.structures
    names = [name for name in reference.values if name in structures]
    values = {name: value for value, name in segmentation.names.items()}
    maps = {"located": segmentation.labels.array}
    if names:
        assert segmentation.image is not None, "the scan is needed for the rows beside the located one"
        maps |= _other_maps(segmenter, segmentation, segmentation.image, reference, names, options)
    rows = {row: score_map(array, values, reference, names, tolerance_mm) for row, array in maps.items()}
    for name in names:
        if structures[name].present and structures[name].shape_prior is None:
            rows["shape_prior"][name] = NOT_OFFERED
    return {name: {row: rows[row][name] for row in rows} for name in names}


def score_map(
    labels: NDArray[Any],
    values: Mapping[str, int],
    reference: CaseReference,
    names: list[str],
    tolerance_mm: float = NSD_TOLERANCE_MM,
) -> dict[str, MaskScores]:
    """Score a label map, each structure within the common bounds of prediction and label.

    Args:
        labels: (Z, Y, X) on the reference's grid.
        values: structure to label value in ``labels``.
        reference: the truth; its values may differ.
        names: structures to score.
        tolerance_mm: of the NSD.
    """
    found = find_objects(labels)
    spacing_zyx = reference.labels.grid.spacing_xyz[::-1]
    scores = {}
    for name in names:
        value = values[name]
        own = found[value - 1] if value <= len(found) else None
        bounds = _union(reference.bounds[name], own)
        scores[name] = mask_scores(
            labels[bounds] == value, reference.mask(name, bounds), spacing_zyx, tolerance_mm
        )
    return scores


def _other_maps(
    segmenter: Segmenter,
    segmentation: Segmentation,
    volume: Image,
    reference: CaseReference,
    names: list[str],
    options: InferenceOptions,
) -> dict[str, NDArray[Any]]:
    """Label maps of the three other rows, on the scan's grid."""
    from medlsam.pipeline.prompts import structure_request
    from medlsam.segment.label_map import assemble, shape_prior_block
    from medlsam.segment.request import segment_requests

    canonical = to_canonical(volume)
    truth = to_canonical(reference.labels)
    structures = segmentation.localization.structures
    asks = {}
    for name in names:
        structure = in_true_box(structures[name], reference.box(name))
        own = structure_request(structure, canonical.grid, options.prompt)
        # The structure first: one whose decoder is adapted is drawn with it here too.
        asks[f"{name}/oracle_box"] = own
        asks[f"{name}/oracle_slices"] = in_true_slices(
            own, truth.array == reference.values[name], options.prompt
        )
    # Both rows in one call: a model that sees whole slices encodes each slice once for the two of them.
    answers = segment_requests(segmenter, canonical, asks)
    blocks: dict[str, dict[str, MaskBlock]] = {"oracle_box": {}, "oracle_slices": {}, "shape_prior": {}}
    for key, block in answers.items():
        name, row = key.rsplit("/", 1)
        blocks[row][name] = block
    for name in names:
        box, prior = structures[name].located_box, structures[name].shape_prior
        if structures[name].present and box is not None and prior is not None:
            blocks["shape_prior"][name] = shape_prior_block(box, prior, canonical.grid)
    values = {name: value for value, name in segmentation.names.items()}
    maps = {}
    for row, found in blocks.items():
        if found:
            # The mean shape is no segmenter's probability: it is where half of the templates have a voxel.
            how = replace(options.label_map, threshold=0.5) if row == "shape_prior" else options.label_map
            wanted = {name: values[name] for name in found}
            shape = canonical.array.shape
            parts = {name: structures[name].parts for name in found}
            array = assemble(found, wanted, shape, how, parts)
            maps[row] = from_canonical(array, canonical.grid, volume.grid)
        else:
            maps[row] = np.zeros(volume.array.shape, np.uint8)
    return maps


def _union(bounds: Bounds, other: Bounds | None) -> Bounds:
    """The smallest slices around both."""
    if other is None:
        return bounds
    z, y, x = (slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(bounds, other, strict=True))
    return (z, y, x)
