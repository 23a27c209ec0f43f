"""The response by RECIST 1.1, on plain numbers: target lesions, non-target lesions, new ones, and all together.

Eisenhauer et al., Eur J Cancer 45 (2009) 228-247: sections 4.3 (definitions) and 4.4, tables 1 and 2. Where the text
leaves a question open, the answer here is:

- Complete response of the targets is looked at first: nodes that are all below 10 mm and nothing else are a complete
  response even where their sum has risen since the nadir.
- The nadir is the smallest sum so far, the baseline's included; visits at which a target was not measured do not
  count.
- A target that was not measured makes the response of that visit not evaluable, unless the others alone already are
  20 % and 5 mm above the nadir: a lesion that nobody measured cannot make a sum smaller.
- What was gone and comes back after a complete response is progression: a target where all targets were gone, a
  non-target lesion where everything was.
- Who has no lesion at baseline has nothing that could respond: without a new lesion the response is not evaluable,
  never complete.
- A visit that nobody could read is not evaluable, and changes neither the nadir nor what was known before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from medlsam.errors import UsageError
from medlsam.lesion.recist.measurable import NORMAL_NODE_MM

#: Of the baseline's sum, and of the nadir.
PARTIAL_SHARE, PROGRESS_SHARE, PROGRESS_MM = 0.3, 0.2, 5.0
#: A lesion that is seen but too small to measure counts as this, mm.
TOO_SMALL_MM = 5.0
# 30 % of 100 mm is 30 mm, whatever the rounding.
_HAIR = 1e-9


class Response(StrEnum):
    """The categories of RECIST 1.1."""

    CR = "CR"
    PR = "PR"
    SD = "SD"
    PD = "PD"
    NE = "NE"
    #: Only without target lesions.
    NON_CR_NON_PD = "non-CR/non-PD"


#: A non-target lesion at a visit. ``gone``: not there any more (a node: below 10 mm). ``present``: still there.
#: ``progressed``: unequivocally larger, which a person has to say. ``not_evaluated``: not in the scan.
NonTarget = Literal["gone", "present", "progressed", "not_evaluated"]


@dataclass(frozen=True)
class Findings:
    """What was found at one visit.

    Attributes:
        targets_mm: the diameter of each target, always in the same order: the longest, of nodes the short axis; 0 where
            it is gone, ``TOO_SMALL_MM`` where it is seen but too small, None where it was not evaluated.
        non_targets: each non-target lesion.
        new_lesions: how many there are that were not there at baseline.
        unread: why nobody could look at this visit at all, so that nothing was evaluated; empty where somebody could.
    """

    targets_mm: tuple[float | None, ...] = ()
    non_targets: tuple[NonTarget, ...] = ()
    new_lesions: int = 0
    unread: str = ""


@dataclass(frozen=True)
class Assessment:
    """The response at one visit after the baseline.

    Attributes:
        sum_mm: sum of the targets' diameters; None where one was not evaluated, or there are none.
        nadir_mm: the smallest sum before this visit.
        from_baseline: change of the sum as a share of the baseline's, -0.3 for a third less; None as ``sum_mm``.
        from_nadir: change as a share of the nadir; None where the nadir is 0 too.
        target: response of the target lesions; None where there are none.
        non_target: response of the non-target lesions; None where there are none.
        new_lesions: how many.
        overall: of all together.
        reason: of ``overall``, in words.
    """

    sum_mm: float | None
    nadir_mm: float
    from_baseline: float | None
    from_nadir: float | None
    target: Response | None
    non_target: Response | None
    new_lesions: int
    overall: Response
    reason: str


def assess(nodes: Sequence[bool], visits: Sequence[Findings]) -> list[Assessment]:
    """The response at every visit after the first.

    Args:
        nodes: for each target, whether it is a lymph node.
        visits: the baseline first, then in order of time.

    Raises:
        UsageError: there is no follow-up, a visit has another number of targets or of non-target lesions, or a target
            was not measured at baseline.
    """
    _check(nodes, visits)
    baseline = sum(mm for mm in visits[0].targets_mm if mm is not None)
    nadir, complete, all_gone = baseline, False, False
    found = []
    for visit in visits[1:]:
        target, why = _target(nodes, visit.targets_mm, baseline, nadir, complete)
        known = [mm for mm in visit.targets_mm if mm is not None]
        total = sum(known) if nodes and len(known) == len(nodes) else None
        non_target = non_target_response(visit.non_targets)
        overall, reason = overall_response(target, non_target, visit.new_lesions)
        if all_gone and "present" in visit.non_targets and overall is not Response.PD:
            non_target = overall = Response.PD
            reason = "a non-target lesion that was gone is back after a complete response"
        found.append(
            Assessment(
                total,
                nadir,
                None if total is None or not baseline else total / baseline - 1,
                None if total is None or not nadir else total / nadir - 1,
                target,
                non_target,
                visit.new_lesions,
                overall,
                visit.unread or reason or why,
            )
        )
        complete = complete or target is Response.CR
        all_gone = all_gone or overall is Response.CR
        nadir = nadir if total is None else min(nadir, total)
    return found


def _check(nodes: Sequence[bool], visits: Sequence[Findings]) -> None:
    if len(visits) < 2:
        raise UsageError(f"a response needs a baseline and a later visit, got {len(visits)} visit(s)")
    for number, visit in enumerate(visits):
        if len(visit.targets_mm) != len(nodes) or len(visit.non_targets) != len(visits[0].non_targets):
            raise UsageError(
                f"visit {number}: {len(visit.targets_mm)} targets and {len(visit.non_targets)} non-target lesions, but "
                f"there are {len(nodes)} and {len(visits[0].non_targets)}; the same lesions are followed at every visit"
            )
        if any(mm is not None and not (math.isfinite(mm) and mm >= 0) for mm in visit.targets_mm):
            raise UsageError(f"visit {number}: diameters are numbers of mm from 0 on, got {visit.targets_mm}")
    if None in visits[0].targets_mm or visits[0].unread:
        raise UsageError(
            f"visit 0: every target is measured at baseline, got {visits[0].unread or visits[0].targets_mm}"
        )


def _target(
    nodes: Sequence[bool],
    targets_mm: Sequence[float | None],
    baseline: float,
    nadir: float,
    complete: bool,
) -> tuple[Response | None, str]:
    """The response of the target lesions, and why."""
    if not nodes:
        return None, ""
    known = [mm for mm in targets_mm if mm is not None]
    total = sum(known)
    rise = total - nadir
    progressed = rise >= PROGRESS_MM - _HAIR and rise >= PROGRESS_SHARE * nadir - _HAIR
    more = f"sum {total:.1f} mm, {rise:+.1f} mm from the nadir of {nadir:.1f} mm"
    if len(known) < len(nodes):
        if progressed:
            return Response.PD, f"{more}, although {len(nodes) - len(known)} target(s) are not evaluated"
        return Response.NE, f"{len(nodes) - len(known)} of {len(nodes)} targets not evaluated"
    gone = all(mm < NORMAL_NODE_MM if node else mm == 0 for node, mm in zip(nodes, known, strict=True))
    if gone:
        return Response.CR, "all targets gone" + (", nodes below 10 mm" if any(nodes) else "")
    if complete and any(mm > 0 for node, mm in zip(nodes, known, strict=True) if not node):
        return Response.PD, "a target that was gone is back after a complete response"
    if progressed:
        return Response.PD, f"{more}: at least 20 % and 5 mm"
    if total <= (1 - PARTIAL_SHARE) * baseline + _HAIR:
        return Response.PR, f"sum {total:.1f} mm, at least 30 % below the baseline of {baseline:.1f} mm"
    if rise >= PROGRESS_SHARE * nadir - _HAIR and rise > 0:
        return Response.SD, f"{more}: less than 5 mm"
    return Response.SD, f"{more}: neither 30 % less than at baseline nor 20 % more than at the nadir"


def non_target_response(non_targets: Sequence[NonTarget]) -> Response | None:
    """The response of the non-target lesions; None where there are none."""
    if not non_targets:
        return None
    if "progressed" in non_targets:
        return Response.PD
    if "not_evaluated" in non_targets:
        return Response.NE
    return Response.CR if all(state == "gone" for state in non_targets) else Response.NON_CR_NON_PD


def overall_response(
    target: Response | None, non_target: Response | None, new_lesions: int
) -> tuple[Response, str]:
    """Tables 1 and 2 of RECIST 1.1: all lesions together, and the reason where it is not the targets' own.

    Args:
        target: of the target lesions; None where there are none.
        non_target: of the non-target lesions; None where there are none.
        new_lesions: how many.
    """
    if new_lesions:
        return Response.PD, f"{new_lesions} new lesion{'s' if new_lesions > 1 else ''}"
    if non_target is Response.PD and target is not Response.PD:
        return Response.PD, "non-target lesions have unequivocally progressed"
    if target is None:
        # Table 2: no target lesions.
        return (non_target, "") if non_target else (Response.NE, "no lesion at baseline that could respond")
    if target is Response.CR and non_target in (Response.NON_CR_NON_PD, Response.NE):
        left = "are left" if non_target is Response.NON_CR_NON_PD else "were not all evaluated"
        return Response.PR, f"all targets gone, but non-target lesions {left}"
    return target, ""
