"""Honest evaluation: every case is located and segmented without labels first; then the labels are opened."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medlsam.errors import UsageError
from medlsam.evaluation.oracles import score_oracles
from medlsam.evaluation.references import References, find_references
from medlsam.evaluation.reliability import add_reliability
from medlsam.evaluation.scores import (
    StructureScore,
    aggregate,
    aggregate_boxes,
    aggregate_seconds,
    score_box,
    score_located,
    to_csv,
)
from medlsam.evaluation.searches import (
    OTHERS,
    add_searches,
    locate_others,
    score_others,
)
from medlsam.io.cases import Case, read_case
from medlsam.io.write import write_volume
from medlsam.measure.metrics import NSD_TOLERANCE_MM
from medlsam.options import InferenceOptions
from medlsam.results import Localization, Segmentation
from medlsam.runtime.atomic_files import write_json, write_text
from medlsam.runtime.stopwatch import Stopwatch
from medlsam.volume import Image, Source

if TYPE_CHECKING:
    from medlsam.localize.protocol import ScanEmbedding
    from medlsam.localize.templates.template_set import TemplateSet
    from medlsam.pipeline.model import MedLSAM


@dataclass
class _Tally:
    """Scores, seconds and failures of the cases evaluated so far."""

    scores: list[StructureScore] = field(default_factory=list)
    located: list[StructureScore] = field(default_factory=list)
    others: dict[str, list[StructureScore]] = field(default_factory=dict)
    seconds: list[Mapping[str, float]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    false_found: dict[str, int] = field(default_factory=dict)


def evaluate(
    model: MedLSAM,
    templates: TemplateSet,
    cases: Iterable[Case],
    labels_dir: str | Path,
    output: str | Path,
    options: InferenceOptions | None = None,
    *,
    names: Mapping[int, str] | None = None,
    tolerance_mm: float = NSD_TOLERANCE_MM,
    compare_search: bool = False,
    on_progress: Callable[[int, int, str], None] | None = None,
    **overrides: Any,
) -> dict[str, Any]:
    """Locate and segment labelled cases as if they had no labels, then score them.

    Four rows stand side by side: ``located`` (the product), ``oracle_box`` (the same prompts in the label's
    own 3D box), ``oracle_slices`` (the label's own box on every slice) and ``shape_prior`` (the templates'
    mean shape in the located box, no segmenter). A structure that is missed counts IoU 0, and Dice and NSD 0
    in ``located`` and ``shape_prior``; one whose case fails counts 0 in all rows. Wall distance and HD95 have
    no value there and state their own n. Margins, confidence and status of the answers are compared with the
    truth beside that, see ``evaluation.reliability``. A scan is embedded once for everything.

    Args:
        model: from ``medlsam.load``.
        templates: from ``model.templates``.
        cases: scans, as ``medlsam.io.cases.find_cases`` returns them.
        labels_dir: ``<case>.nii.gz`` or ``<case>/labels.nii.gz``; ``dataset.json`` or ``labels.json`` and an
            optional ``cases.json`` in it or one level up (see ``evaluation.references``).
        output: gets ``metrics.json``, ``cases.csv``, and per case ``segmentation.nii.gz`` and
            ``localization.json``.
        options: how the scans are located and segmented; those of ``load`` where None.
        names: label value to structure, where no file says so.
        tolerance_mm: of the NSD.
        compare_search: also locate in the paper's mode, for the block ``random-start``, and with both searches
            before their refinement, for ``coarse_only`` there and beside it (boxes only).
        on_progress: called with cases done, cases in all and the case's name after each case.
        **overrides: single options by name: ``margin_mm=2``.

    Returns:
        The content of ``metrics.json``.

    Raises:
        UsageError: no case has labels, or the labels and the templates have no structure in common.
        TemplateError: templates of another localizer.
        WeightsError: the segmenter cannot be loaded.
    """
    options = model.options_of(options, **overrides)
    model.check(templates)
    if options.locate.organs is not None:
        templates = templates.select(options.locate.organs)
    references = find_references(Path(labels_dir), names)
    labelled, unlabelled = _split(cases, references, templates)
    output, tally = Path(output), _Tally()
    _ = model.segmenter  # loaded now: weights that cannot be read are no failure of forty cases
    for done, case in enumerate(labelled, start=1):
        try:
            segmentation, embedding, seconds = _segment(model, templates, case, output, options)
            others: Mapping[str, Localization] = {}
            if compare_search:
                others, more = locate_others(model, segmentation.localization, templates, embedding, options)
                seconds |= more
            _score(
                model, templates, case.name, segmentation, others, references, options, tolerance_mm, tally
            )
            tally.seconds.append(seconds)
        except Exception as error:
            # One scan must not stop the others, whatever it trips over; its structures count as missed.
            tally.failed[case.name] = f"{type(error).__name__}: {error}"
            _score_failed(case.name, references, templates, compare_search, tally)
        if on_progress is not None:
            on_progress(done, len(labelled), case.name)
    order = {name: place for place, name in enumerate(templates.structures)}
    for scores in (tally.scores, tally.located, *tally.others.values()):
        scores.sort(key=lambda score: (score.case, order[score.structure]))
    metrics = _metrics(tally, len(labelled), unlabelled, compare_search, templates.structures)
    metrics["options"] = {**options.result_fields(until="segment"), "nsd_tolerance_mm": tolerance_mm}
    metrics["weights"] = {"localizer": model.localizer_weights, "segmenter": model.segmenter_weights}
    write_text(output / "cases.csv", to_csv(tally.scores))
    write_json(output / "metrics.json", metrics)
    return metrics


def _split(
    cases: Iterable[Case], references: References, templates: TemplateSet
) -> tuple[list[Case], list[str]]:
    """Cases with a label file, and the names of those without."""
    common = set(templates.structures) & set(references.names.values())
    if not common:
        raise UsageError(
            f"{references.folder}: nothing to score: the templates have {', '.join(templates.structures)}, "
            f"the labels {', '.join(references.names.values())}"
        )
    cases = list(cases)
    labelled = [case for case in cases if references.find(case.name)]
    if not labelled:
        looked = f"{references.folder / cases[0].name}.nii.gz" if cases else "no scan was given"
        raise UsageError(
            f"{references.folder}: none of {len(cases)} scans has labels there (looked for {looked})"
        )
    return labelled, [case.name for case in cases if case not in labelled]


def _segment(
    model: MedLSAM,
    templates: TemplateSet,
    case: Case,
    output: Path,
    options: InferenceOptions,
) -> tuple[Segmentation, ScanEmbedding, dict[str, float]]:
    """The product's own path, results written, the scan's embedding, and seconds. No label is known here."""
    stopwatch = Stopwatch()
    with stopwatch("read"):
        image = read_case(case)
    # The name goes with the scan: image.nii.gz in a folder per case is not "image".
    volume = Image(image.array, image.grid, Source(Path(case.name)))
    with stopwatch("embed"):
        embedding = model.embed(volume)
    segmentation = model.segment(volume, templates, options, embedding=embedding, stopwatch=stopwatch)
    with stopwatch("write"):
        write_volume(segmentation.labels, output / case.name / "segmentation.nii.gz")
        write_json(output / case.name / "localization.json", segmentation.localization.to_dict())
    return segmentation, embedding, dict(stopwatch.seconds)


def _score(
    model: MedLSAM,
    templates: TemplateSet,
    case: str,
    segmentation: Segmentation,
    others: Mapping[str, Localization],
    references: References,
    options: InferenceOptions,
    tolerance_mm: float,
    tally: _Tally,
) -> None:
    """Open the labels and score. Nothing is added to the tally unless all of it succeeds."""
    reference = references.read(case, segmentation.image)
    structures = segmentation.localization.structures
    rows = score_oracles(model.segmenter_for(templates), segmentation, reference, options, tolerance_mm)
    scores, beside = [], []
    for name, own in rows.items():
        truth = reference.box(name)
        scores.append(replace(score_box(case, name, structures[name], truth), rows=own))
        beside.append(score_others(case, others, name, truth))
    tally.scores += scores
    tally.located += [score_located(case, name, structures[name], reference.box(name)) for name in rows]
    for name in others:
        tally.others.setdefault(name, []).extend(found[name] for found in beside)
    for name in reference.absent:
        if name in structures:
            tally.false_found[name] = tally.false_found.get(name, 0) + int(structures[name].present)


def _score_failed(
    case: str, references: References, templates: TemplateSet, compare_search: bool, tally: _Tally
) -> None:
    """Count the structures of a failed case as missed, where its labels can be read."""
    try:
        reference = references.read(case)
    except Exception as error:
        tally.failed[case] += f"; its labels cannot be read either ({error})"
        return
    scores = [
        score_box(case, name, None, reference.box(name))
        for name in reference.values
        if name in templates.structures
    ]
    tally.scores += scores
    tally.located += scores
    for name in OTHERS if compare_search else ():
        tally.others.setdefault(name, []).extend(scores)


def _metrics(
    tally: _Tally, cases: int, unlabelled: list[str], compare_search: bool, order: tuple[str, ...]
) -> dict[str, Any]:
    """The content of ``metrics.json``, structures in the templates' order."""
    seconds = aggregate_seconds(tally.seconds)
    metrics: dict[str, Any] = {"cases": cases, **aggregate(tally.scores, tally.false_found, order)}
    add_reliability(metrics, tally.scores)
    metrics["seconds_per_case"] = {stage: entry["mean"] or 0.0 for stage, entry in seconds.items()}
    metrics["seconds_spread"] = seconds
    metrics["as_located"] = aggregate_boxes(tally.located, order)
    metrics["failed"] = dict(tally.failed)
    metrics["unlabelled"] = unlabelled
    if compare_search:
        add_searches(metrics, tally.others, order)
    return metrics
