"""From located structures to the label map in the scan's own geometry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medlsam.geometry import Box, Grid
from medlsam.options import InferenceOptions, PromptOptions
from medlsam.pipeline.prompts import scan_requests
from medlsam.results import Localization, Segmentation
from medlsam.runtime.blas_threads import one_blas_thread
from medlsam.runtime.stopwatch import Stopwatch
from medlsam.segment.label_map import assemble
from medlsam.segment.request import segment_requests
from medlsam.volume import Image, LabelMap, from_canonical, to_canonical

if TYPE_CHECKING:
    from collections.abc import Callable

    from medlsam.segment.protocol import Segmenter


@one_blas_thread()
def segment_located(
    segmenter: Callable[[], Segmenter],
    image: Image,
    localization: Localization,
    values: Mapping[str, int],
    options: InferenceOptions,
    stopwatch: Stopwatch | None = None,
) -> Segmentation:
    """Segment structures where they were located, or where somebody moved the boxes to.

    Structures that are missing or out of view cost no pass of a network and get no voxel.

    Args:
        segmenter: gives the segmenter; not called where no structure has a box.
        image: the scan, HU.
        localization: where its structures are.
        values: structure to label value.
        options: how; those of localization and of loading play no part here.
        stopwatch: gets the seconds of each stage.

    Raises:
        WeightsError: the segmenter cannot be loaded.
    """
    stopwatch = stopwatch or Stopwatch()
    with stopwatch("prepare"):
        canonical = to_canonical(image)
        requests, warnings = scan_requests(localization, canonical.grid, options.prompt)
    blocks = {}
    if requests:
        loaded = segmenter()
        warnings += ignored(options.prompt, loaded)
        blocks = segment_requests(loaded, canonical, requests, stopwatch)
    with stopwatch("assemble"):
        if blocks:
            own = {name: values[name] for name in blocks}
            shape = canonical.array.shape
            parts = {name: localization.structures[name].parts for name in blocks}
            found = assemble(blocks, own, shape, options.label_map, parts)
            localization = with_mask_boxes(localization, found, own, canonical.grid)
            array = from_canonical(found, canonical.grid, image.grid)
        else:
            kind = np.uint8 if max(values.values(), default=0) <= 255 else np.uint16
            array = np.zeros(image.array.shape, kind)
    return Segmentation(
        case=localization.case,
        labels=LabelMap(array, image.grid, image.source),
        names={values[name]: name for name in localization.structures},
        localization=localization,
        seconds=dict(stopwatch.seconds),
        image=image,
        warnings=warnings,
    )


def with_mask_boxes(
    localization: Localization, labels: NDArray[Any], values: Mapping[str, int], grid: Grid
) -> Localization:
    """Report the tight boxes of the masks: they are nearer to the truth than the located ones.

    Args:
        localization: as located.
        labels: (Z, Y, X) label map on the canonical grid.
        values: structure to label value.
        grid: canonical grid.

    Returns:
        The same with other ``box`` values; a structure without a voxel keeps its own.
    """
    places = dict(enumerate(ndimage.find_objects(labels), start=1))
    structures = dict(localization.structures)
    for name, value in values.items():
        place = places.get(value)
        if place is not None:
            ends = np.array([[side.start - 0.5, side.stop - 0.5] for side in place[::-1]])
            low, high = grid.ijk_to_lps(ends.T)
            structures[name] = replace(structures[name], box=Box(tuple(low), tuple(high)))
    return replace(localization, structures=structures)


def ignored(options: PromptOptions, segmenter: Segmenter) -> tuple[str, ...]:
    """Warnings about options that the segmenter cannot follow."""
    if segmenter.spec.kind != "crop":
        return ()
    name, found = segmenter.spec.name, []
    if options.zoom:
        found.append(
            f"zoom: {name} always looks at crops around the boxes, as large as its weights want them"
        )
    if not isinstance(options.window, str):
        found.append(f"window: {name} always looks through the windows that its weights want")
    return tuple(found)
