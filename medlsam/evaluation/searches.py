"""Other searches beside the evaluated one: the paper's mode, and both searches without their refinement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from medlsam.evaluation.scores import StructureScore, aggregate_boxes, score_box
from medlsam.geometry import Box
from medlsam.localize.search.options import SearchOptions
from medlsam.options import InferenceOptions
from medlsam.results import Localization
from medlsam.runtime.stopwatch import Stopwatch

if TYPE_CHECKING:
    from medlsam.localize.protocol import ScanEmbedding
    from medlsam.localize.templates.template_set import TemplateSet
    from medlsam.pipeline.model import MedLSAM

#: Position votes alone, before any feature is matched.
COARSE = SearchOptions(windows_mm=(), paper_window_mm=0)
#: Names of the searches beside the evaluated one.
OWN_COARSE, PAPER, PAPER_COARSE = "coarse_only", "random-start", "random-start/coarse_only"
OTHERS = (OWN_COARSE, PAPER, PAPER_COARSE)
#: The seconds of their search alone; none of them embeds the scan again.
OTHER_STAGES = {
    OWN_COARSE: "coarse_only_locate",
    PAPER: "random_start_locate",
    PAPER_COARSE: "random_start_coarse_only_locate",
}


def locate_others(
    model: MedLSAM,
    located: Localization,
    templates: TemplateSet,
    embedding: ScanEmbedding,
    options: InferenceOptions,
) -> tuple[dict[str, Localization], dict[str, float]]:
    """Locate a case again with each of the other searches, in the embedding that is there already.

    Args:
        model: as evaluated.
        located: the evaluated answer, with its volume.
        templates: as evaluated.
        embedding: of the scan.
        options: as evaluated; the coarse answer of their search is wanted too.

    Returns:
        Name in ``OTHERS`` to answers, and seconds under the names in ``OTHER_STAGES``.
    """
    assert located.image is not None, "the evaluated answer keeps its scan"
    plans = {OWN_COARSE: (options.locate.search, COARSE), PAPER: (PAPER, None), PAPER_COARSE: (PAPER, COARSE)}
    found, seconds = {}, {}
    for name, (search, constants) in plans.items():
        stopwatch = Stopwatch()
        found[name] = model.localize(
            located.image,
            templates,
            options,
            embedding=embedding,
            stopwatch=stopwatch,
            search_options=constants,
            search=search,
        )
        seconds[OTHER_STAGES[name]] = stopwatch.seconds.get("locate", 0.0)
    return found, seconds


def score_others(
    case: str, found: Mapping[str, Localization], structure: str, truth: Box
) -> dict[str, StructureScore]:
    """The box scores of one structure. These searches know no "missing": their box counts, whatever its status."""
    return {
        name: score_box(case, structure, replace(answer.structures[structure], status="found"), truth)
        for name, answer in found.items()
    }


def add_searches(
    metrics: dict[str, Any], scores: Mapping[str, Sequence[StructureScore]], order: Sequence[str]
) -> None:
    """Add ``coarse_only`` and ``random-start`` (with a ``coarse_only`` of its own) to ``metrics.json``."""
    metrics[OWN_COARSE] = aggregate_boxes(scores.get(OWN_COARSE, ()), order)
    metrics[PAPER] = aggregate_boxes(scores.get(PAPER, ()), order)
    metrics[PAPER]["coarse_only"] = aggregate_boxes(scores.get(PAPER_COARSE, ()), order)
