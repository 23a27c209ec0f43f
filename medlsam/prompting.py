"""From located structures to slice prompts: where localization's answer becomes the segmenter's question."""

from __future__ import annotations

from medlsam.errors import UsageError
from medlsam.geometry import Grid
from medlsam.options import PROMPTS, InferenceOptions, choice
from medlsam.results import Localization, LocatedOrgan
from medlsam.segment.prompts import SlicePrompt, profile, spl, wpl

_DEFAULT = InferenceOptions()


def effective_prompts(organ: LocatedOrgan, prompts: str) -> str:
    """``prompts``, or the next best kind where the templates hold none: ``profile``, ``spl``, ``wpl``."""
    if prompts == "profile" and organ.profile is None:
        prompts = "spl"
    return "wpl" if prompts == "spl" and not organ.slabs else prompts


def slice_prompts(
    organ: LocatedOrgan, prompts: str, grid: Grid, margin_mm: float = _DEFAULT.margin_mm
) -> list[SlicePrompt]:
    """One box for each slice of a located structure.

    The boxes come from ``organ.box``, the structure as located: segmenters are trained on boxes that fit,
    and ``profile`` and ``slabs`` are relative to it. ``prompt_box`` is wider, for a reader who wants to be
    sure to see the whole structure.

    Args:
        organ: a structure with a box; replace its box to ask what another box would give.
        prompts: ``profile`` (the templates' slice-by-slice boxes, scaled into the box), ``spl`` (a box for
            each slab along z) or ``wpl`` (one box on all slices); see ``effective_prompts`` for what a
            structure without profile or slabs gets.
        grid: canonical grid (identity direction).
        margin_mm: added to each side within the slice; along z it would add slices outside of the structure.

    Raises:
        UsageError: an unknown ``prompts``, or a structure without a box.
    """
    choice("prompts", prompts, PROMPTS)
    if organ.box is None:
        raise UsageError(f"{organ.name} is {organ.status}: it has no box to segment in")
    faces = (margin_mm,) * 4 + (0.0, 0.0)
    box = organ.box.expand(faces)
    kind = effective_prompts(organ, prompts)
    if kind == "profile":
        assert organ.profile is not None
        return profile(box, organ.profile, grid)
    if kind == "spl":
        return spl(tuple(slab.expand(faces) for slab in organ.slabs), box, grid)
    return wpl(box, grid)


def all_prompts(
    localization: Localization, prompts: str, grid: Grid, margin_mm: float
) -> tuple[dict[str, list[SlicePrompt]], tuple[str, ...]]:
    """Prompts of the structures that are there, and what a reader should know about them."""
    chosen: dict[str, list[SlicePrompt]] = {}
    warnings = []
    for name, organ in localization.organs.items():
        if not organ.present:
            continue
        found = slice_prompts(organ, prompts, grid, margin_mm)
        kind = effective_prompts(organ, prompts)
        if kind != prompts:
            warnings.append(f"{name}: the templates hold nothing for {prompts} prompts; used {kind}")
        if found:
            chosen[name] = found
        else:
            warnings.append(f"{name}: the located box lies outside of the scan; not segmented")
    return chosen, tuple(warnings)
