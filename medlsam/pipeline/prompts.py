"""From located structures to slice prompts: the result of localization becomes the input of the segmenter."""

from __future__ import annotations

from dataclasses import replace

from medlsam.errors import UsageError
from medlsam.geometry import Grid
from medlsam.options import PromptOptions
from medlsam.results import Localization, LocatedStructure
from medlsam.segment.label_map import crop_prior, shape_prior_block
from medlsam.segment.planes import SIDES, side_prompts
from medlsam.segment.prompts import SlicePrompt, profile, shrink, spl, with_center_point, wpl, zoomed
from medlsam.segment.propagate import Propagation
from medlsam.segment.request import SegmentationRequest

_DEFAULT = PromptOptions()


def effective_prompts(structure: LocatedStructure, prompts: str) -> str:
    """``prompts``, or the next best kind where the templates hold none: ``profile``, ``spl``, ``wpl``."""
    if prompts == "profile" and structure.profile is None:
        prompts = "spl"
    return "wpl" if prompts == "spl" and not structure.slabs else prompts


def slice_prompts(
    structure: LocatedStructure, grid: Grid, options: PromptOptions = _DEFAULT
) -> list[SlicePrompt]:
    """One box for each slice of a located structure.

    A structure in several parts has a box for each part in each of its slices (see ``structure_parts``).

    The boxes come from ``structure.box``, the structure as located: segmenters are trained on boxes that fit,
    and ``profile`` and ``slabs`` are relative to it. ``prompt_box`` is wider, for a reader who wants to be
    sure to see the whole structure.

    Args:
        structure: a structure with a box; replace its box to get the prompts of another one.
        grid: canonical grid (identity direction).
        options: ``prompts`` says which boxes: ``profile`` (the templates' slice-by-slice boxes, scaled into the
            box), ``spl`` (a box for each slab along z) or ``wpl`` (one box on all slices); see
            ``effective_prompts`` for a structure without profile or slabs. ``margin_mm`` is added to each
            side within the slice; along z it would add slices outside of the structure.

    Raises:
        UsageError: a structure without a box.
    """
    if structure.box is None:
        raise UsageError(f"{structure.name} is {structure.status}: it has no box to segment in")
    parts = enumerate(structure_parts(structure))
    return [replace(own, part=number) for number, part in parts for own in _part_prompts(part, grid, options)]


def structure_parts(structure: LocatedStructure) -> list[LocatedStructure]:
    """The connected parts of a structure, each as if it were a structure located by itself.

    Args:
        structure: with a box.

    Returns:
        As many as the templates show: their places in the box, their own profiles, and what the slabs and the mean
        shape have there. A structure in one part is returned as it is.
    """
    whole = structure.box
    assert whole is not None
    found = []
    for part in structure.part_shapes:
        box = part.box_in(whole)
        prior = structure.shape_prior
        cut = (slab.intersection(box) for slab in structure.slabs)
        found.append(
            replace(
                structure,
                box=box,
                located_box=box,
                slabs=tuple(slab for slab in cut if slab is not None),
                profile=part.profile,
                shape_prior=None if prior is None else crop_prior(prior, part.low, part.high),
                part_shapes=(),
            )
        )
    return found or [structure]


def _part_prompts(structure: LocatedStructure, grid: Grid, options: PromptOptions) -> list[SlicePrompt]:
    """The boxes of a structure in one part; see ``slice_prompts``."""
    assert structure.box is not None
    faces = (options.margin_mm,) * 4 + (0.0, 0.0)
    box = structure.box.expand(faces)
    kind = effective_prompts(structure, options.prompts)
    if kind == "profile":
        assert structure.profile is not None
        return profile(box, structure.profile, grid)
    if kind == "spl":
        return spl(tuple(slab.expand(faces) for slab in structure.slabs), box, grid)
    return wpl(box, grid)


def refined(
    prompts: list[SlicePrompt], options: PromptOptions, shape_hw: tuple[int, int]
) -> list[SlicePrompt]:
    """Shrink boxes, add a point in the middle and zoom in, as far as the options say so.

    Args:
        prompts: boxes in slices of ``shape_hw``.
        options: ``shrink``, ``center_point`` and ``zoom``.
        shape_hw: rows and columns.
    """
    if options.shrink != 1:
        prompts = shrink(prompts, options.shrink)
    if options.center_point:
        prompts = with_center_point(prompts)
    return zoomed(prompts, options.zoom, shape_hw) if options.zoom else prompts


def structure_request(
    structure: LocatedStructure, grid: Grid, options: PromptOptions = _DEFAULT
) -> SegmentationRequest:
    """The request for one located structure.

    Args:
        structure: a structure with a box.
        grid: canonical grid.
        options: which prompts.

    Raises:
        UsageError: see ``slice_prompts``.
    """
    axial = slice_prompts(structure, grid, options)
    assert structure.box is not None
    prior, parts = structure.shape_prior, structure_parts(structure)
    sides = {}
    for turn in SIDES if options.axes == "three" else ():
        shape = turn.grid(grid).shape_zyx[1:]
        boxes = [
            replace(prompt, part=number)
            for number, part in enumerate(parts)
            if part.box is not None
            for prompt in side_prompts(part.box, part.shape_prior, grid, turn, options.margin_mm)
        ]
        sides[turn.name] = refined(boxes, options, shape)
    return SegmentationRequest(
        prompts=refined(axial, options, grid.shape_zyx[1:]),
        sides=sides,
        mask_prompt=shape_prior_block(structure.box, prior, grid)
        if options.shape_prompt and prior is not None
        else None,
        propagation=Propagation() if options.propagate else None,
        window=options.window,
        hu=structure.hu,
    )


def scan_requests(
    localization: Localization, grid: Grid, options: PromptOptions = _DEFAULT
) -> tuple[dict[str, SegmentationRequest], tuple[str, ...]]:
    """The requests for the structures that are present, and warnings for the reader of the result."""
    chosen: dict[str, SegmentationRequest] = {}
    warnings = []
    for name, structure in localization.structures.items():
        if not structure.present:
            continue
        request = structure_request(structure, grid, options)
        kind = effective_prompts(structure, options.prompts)
        if kind != options.prompts:
            # Slabs are located; whoever gives a box gives none.
            given = options.prompts == "spl" and "given" in structure.details
            why = "a given box has" if given else "the templates hold"
            warnings.append(f"{name}: {why} nothing for {options.prompts} prompts; used {kind}")
        if options.shape_prompt and structure.shape_prior is None:
            warnings.append(f"{name}: the templates hold no mean shape; segmented without shape_prompt")
        if request.prompts:
            chosen[name] = request
        else:
            warnings.append(f"{name}: the located box lies outside of the scan; not segmented")
    return chosen, tuple(warnings)
