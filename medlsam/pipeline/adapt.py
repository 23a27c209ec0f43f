"""Adapt the segmenter to the templates: its mask decoder learns how their structures are drawn.

The decoder of ``sam-tiny`` is trained on the templates' slices (``segment.finetune``), and judged as it will be used:
every template is located with the others, and its masks are made with a decoder that never saw it. A structure whose
Dice rises by that uses the adapted decoder; all others are segmented as before. So adapting never costs a structure
what the templates can show.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medlsam.errors import TemplateError, UsageError
from medlsam.localize.templates.adapted import AdaptedDecoder, AdaptedScore
from medlsam.localize.templates.template_set import TemplateSet
from medlsam.measure.metrics import dice
from medlsam.pipeline.segment import segment_located
from medlsam.segment.adapted import decoder_differences, with_differences
from medlsam.segment.finetune.crop_tuner import CropTuner
from medlsam.segment.finetune.embeddings import embed_cases
from medlsam.segment.finetune.labelled import LabelledCase, find_labelled
from medlsam.segment.finetune.options import FinetuneOptions
from medlsam.segment.finetune.train import train
from medlsam.segment.sam_tiny.segmenter import TinySegmenter

if TYPE_CHECKING:
    from medlsam.pipeline.model import MedLSAM

#: Chosen on the templates of ``bodyval``, leave-one-out (decision 0066).
TUNING = FinetuneOptions(epochs=6, batch_size=16, learning_rate=3e-4, views=6, slices=16)
#: The templates are held out one by one, or in so many groups.
FOLDS = 6


@dataclass(frozen=True)
class _Pair:
    """Dice of one structure in one template, before and after."""

    structure: str
    before: float
    after: float


def adapt(
    model: MedLSAM,
    path: str | Path,
    templates: TemplateSet,
    cases: Sequence[str] | str | Path | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> TemplateSet:
    """Adapt the model's segmenter to templates.

    Args:
        model: with ``sam-tiny``.
        path: the templates folder; templates with extreme points alone are left out. Embeddings of their slices lie in
            a temporary folder, some 2 GB for ten structures of five templates.
        templates: made of it.
        cases: only these template scans, as for ``MedLSAM.templates``.
        on_progress: gets a line for each step.

    Returns:
        The same templates with ``adapted``.

    Raises:
        UsageError: another segmenter.
        TemplateError: fewer than two templates have label maps.
        MedlsamError: the training diverged.
    """
    say = on_progress or (lambda text: None)
    segmenter = model.segmenter
    if not isinstance(segmenter, TinySegmenter):
        raise UsageError(
            f"adapt: only sam-tiny can be adapted, the segmenter is {segmenter.spec.name}; for SAM and MedSAM there is "
            "`medlsam finetune`"
        )
    labelled = find_labelled([Path(path)], cases, list(templates.structures), None)
    if len(labelled) < 2:
        raise TemplateError(
            f"{path}: adapting needs two templates with label maps, one to judge what the other has taught; there "
            f"is {len(labelled)}"
        )
    tuner = CropTuner(segmenter)
    pairs: list[_Pair] = []
    with tempfile.TemporaryDirectory(prefix="medlsam-adapt-") as folder:
        scans = embed_cases(tuner, segmenter.signature, labelled, Path(folder), TUNING, say)
        for group in np.array_split(np.arange(len(labelled)), min(FOLDS, len(labelled))):
            held = [labelled[k] for k in group]
            say(f"adapting without {', '.join(case.name for case in held)}")
            rest = [scan for scan in scans if scan.name not in {case.name for case in held}]
            trained = train(tuner, rest, TUNING.epochs, TUNING, segmenter.device)
            after = with_differences(segmenter, decoder_differences(segmenter, trained.module))  # type: ignore[arg-type]
            for case in held:
                pairs += _judged(model, templates, case, segmenter, after)
        say(f"adapting to all {len(scans)} templates")
        final = train(tuner, scans, TUNING.epochs, TUNING, segmenter.device)
    scores = {
        name: _score([pair for pair in pairs if pair.structure == name]) for name in templates.structures
    }
    found = decoder_differences(segmenter, final.module)  # type: ignore[arg-type]
    useful = any(score.better for score in scores.values())
    return replace(templates, adapted=AdaptedDecoder(segmenter.signature, scores, found if useful else {}))


def _judged(
    model: MedLSAM, templates: TemplateSet, case: LabelledCase, before: TinySegmenter, after: TinySegmenter
) -> list[_Pair]:
    """Locate the structures of one template with the others, and compare the masks of two segmenters."""
    scan = case.read()
    others = templates.without(case.name)
    located = model.localize(scan.image, others, case=case.name)
    masks = []
    for segmenter in (before, after):
        found = segment_located(lambda s=segmenter: s, scan.image, located, others.values, model.options)  # type: ignore[misc]
        masks.append(found.labels.array)
    pairs = []
    for value, name in scan.names.items():
        truth = scan.labels.array == value
        structure = located.structures.get(name)
        if structure is not None and structure.present and truth.any():
            own = (dice(mask == others.values[name], truth) for mask in masks)
            pairs.append(_Pair(name, *own))
    return pairs


def _score(pairs: Sequence[_Pair]) -> AdaptedScore:
    if not pairs:
        return AdaptedScore(0, 0.0, 0.0)
    return AdaptedScore(
        len(pairs),
        round(float(np.mean([pair.before for pair in pairs])), 4),
        round(float(np.mean([pair.after for pair in pairs])), 4),
    )
