"""From located structures to the label map in the scan's own geometry: what follows localization."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from medlsam.options import PROMPTS, InferenceOptions, Policy, choice
from medlsam.pipeline.prompts import all_asks
from medlsam.results import Localization, Segmentation
from medlsam.runtime.blas_threads import one_blas_thread
from medlsam.runtime.stopwatch import Stopwatch
from medlsam.segment.label_map import assemble
from medlsam.segment.request import segment_requests
from medlsam.volume import Image, LabelMap, from_canonical, to_canonical

if TYPE_CHECKING:
    from collections.abc import Callable

    from medlsam.segment.protocol import Segmenter

_DEFAULT = InferenceOptions()


@one_blas_thread()
def segment_located(
    segmenter: Callable[[], Segmenter],
    image: Image,
    localization: Localization,
    values: Mapping[str, int],
    prompts: str = _DEFAULT.prompts,
    margin_mm: float = _DEFAULT.margin_mm,
    threshold: float = _DEFAULT.threshold,
    watch: Stopwatch | None = None,
    policy: Policy = _DEFAULT.policy,
) -> Segmentation:
    """See ``MedLSAM.segment_located``.

    Args:
        segmenter: gives the segmenter; not called where no structure has a box.
        image: the scan, HU.
        localization: where its structures are.
        values: structure to label value.
        prompts: see ``MedLSAM.segment``.
        margin_mm: see ``MedLSAM.segment``.
        threshold: see ``MedLSAM.segment``.
        watch: gets the seconds of each stage.
        policy: what is asked beside the boxes.

    Raises:
        UsageError: an unknown ``prompts``.
        WeightsError: the segmenter cannot be loaded.
    """
    choice("prompts", prompts, PROMPTS)
    watch = watch or Stopwatch()
    with watch("prepare"):
        canonical = to_canonical(image)
        asks, warnings = all_asks(localization, prompts, canonical.grid, margin_mm, policy)
    blocks = {}
    if asks:
        asked = segmenter()
        warnings += ignored(policy, asked)
        blocks = segment_requests(asked, canonical, asks, watch)
    with watch("assemble"):
        if blocks:
            own = {name: values[name] for name in blocks}
            shape = canonical.array.shape
            found = assemble(blocks, own, shape, threshold, policy.components, policy.overlaps)
            array = from_canonical(found, canonical.grid, image.grid)
        else:
            kind = np.uint8 if max(values.values(), default=0) <= 255 else np.uint16
            array = np.zeros(image.array.shape, kind)
    return Segmentation(
        case=localization.case,
        labels=LabelMap(array, image.grid),
        names={values[name]: name for name in localization.organs},
        localization=localization,
        seconds=dict(watch.seconds),
        image=image,
        warnings=warnings,
    )


def ignored(policy: Policy, segmenter: Segmenter) -> tuple[str, ...]:
    """What a policy asks for and a segmenter cannot do, in words for its reader."""
    if segmenter.spec.kind != "crop":
        return ()
    name = segmenter.spec.name
    if policy.zoom:
        return (f"zoom: {name} always looks at crops around the boxes, as large as its weights want them",)
    return ()
