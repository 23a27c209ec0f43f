"""From located structures to slice prompts: where localization's answer becomes the segmenter's question."""

from __future__ import annotations

from medlsam.errors import UsageError
from medlsam.geometry import Grid
from medlsam.options import PROMPTS, InferenceOptions, Policy, choice
from medlsam.results import Localization, LocatedOrgan
from medlsam.segment.label_map import shape_prior_block
from medlsam.segment.planes import SIDES, side_prompts
from medlsam.segment.prompts import SlicePrompt, profile, shrink, spl, with_center_point, wpl, zoomed
from medlsam.segment.propagate import Propagation
from medlsam.segment.request import SegmentationRequest

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


def refined(prompts: list[SlicePrompt], policy: Policy, shape_hw: tuple[int, int]) -> list[SlicePrompt]:
    """Boxes as a policy wants them: shrunk, with a point in the middle, looked at closely.

    Args:
        prompts: boxes in slices of ``shape_hw``.
        policy: which of them.
        shape_hw: rows and columns.
    """
    if policy.shrink != 1:
        prompts = shrink(prompts, policy.shrink)
    if policy.center_point:
        prompts = with_center_point(prompts)
    return zoomed(prompts, policy.zoom, shape_hw) if policy.zoom else prompts


def ask(
    organ: LocatedOrgan,
    prompts: str,
    grid: Grid,
    margin_mm: float = _DEFAULT.margin_mm,
    policy: Policy = _DEFAULT.policy,
) -> SegmentationRequest:
    """All that is asked about one located structure.

    Args:
        organ: a structure with a box.
        prompts: see ``slice_prompts``.
        grid: canonical grid.
        margin_mm: see ``slice_prompts``.
        policy: what is asked beside the boxes.

    Raises:
        UsageError: see ``slice_prompts``.
    """
    axial = slice_prompts(organ, prompts, grid, margin_mm)
    assert organ.box is not None
    prior = organ.shape_prior
    sides = {}
    for turn in SIDES if policy.axes == "three" else ():
        shape = turn.grid(grid).shape_zyx[1:]
        boxes = side_prompts(organ.box, prior, grid, turn, margin_mm)
        sides[turn.name] = refined(boxes, policy, shape)
    return SegmentationRequest(
        prompts=refined(axial, policy, grid.shape_zyx[1:]),
        sides=sides,
        mask_prompt=shape_prior_block(organ.box, prior, grid)
        if policy.shape_prompt and prior is not None
        else None,
        propagation=Propagation() if policy.propagate else None,
    )


def all_asks(
    localization: Localization,
    prompts: str,
    grid: Grid,
    margin_mm: float = _DEFAULT.margin_mm,
    policy: Policy = _DEFAULT.policy,
) -> tuple[dict[str, SegmentationRequest], tuple[str, ...]]:
    """The questions about the structures that are there, and what a reader should know about them."""
    chosen: dict[str, SegmentationRequest] = {}
    warnings = []
    for name, organ in localization.organs.items():
        if not organ.present:
            continue
        found = ask(organ, prompts, grid, margin_mm, policy)
        kind = effective_prompts(organ, prompts)
        if kind != prompts:
            warnings.append(f"{name}: the templates hold nothing for {prompts} prompts; used {kind}")
        if policy.shape_prompt and organ.shape_prior is None:
            warnings.append(f"{name}: the templates hold no mean shape; segmented without shape_prompt")
        if found.prompts:
            chosen[name] = found
        else:
            warnings.append(f"{name}: the located box lies outside of the scan; not segmented")
    return chosen, tuple(warnings)
