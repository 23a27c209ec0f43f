"""The response on more than thirty worked examples, each with its reason, and what a wrong call is told."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from medlsam.errors import UsageError
from medlsam.lesion.recist.response import Findings, Response, assess, overall_response


class Example(NamedTuple):
    """Nodes are True; a visit is its targets' mm, and perhaps its non-target lesions and the number of new ones."""

    reason: str
    nodes: list[bool]
    visits: list[tuple[Any, ...]]
    expected: str


T, N = False, True
EXAMPLES = [
    Example("30 % less is partial response", [T, T], [([60, 40],), ([42, 28],)], "PR"),
    Example("29 % less is not yet", [T, T], [([60, 40],), ([42, 29],)], "SD"),
    Example("all gone is complete response", [T, T], [([60, 40],), ([0, 0],)], "CR"),
    Example("one of two gone: 60 % less", [T, T], [([60, 40],), ([0, 40],)], "PR"),
    Example("20 % and 20 mm more is progression", [T], [([100],), ([120],)], "PD"),
    Example("19 % more is stable", [T], [([100],), ([119],)], "SD"),
    Example("20 % more but only 4 mm is stable", [T], [([20],), ([24],)], "SD"),
    Example("25 % more and exactly 5 mm is progression", [T], [([20],), ([25],)], "PD"),
    Example("5 mm more but only 5 % is stable", [T], [([100],), ([105],)], "SD"),
    Example(
        "measured against the nadir, not the baseline: 50 to 60 is 20 % and 10 mm",
        [T], [([100],), ([50],), ([60],)], "PR PD",
    ),
    Example(
        "and 50 to 59 is 18 %: still 41 % below the baseline", [T], [([100],), ([50],), ([59],)], "PR PR"
    ),
    Example(
        "the nadir is the smallest sum so far: 100, 60, 50, then 61 is 22 %",
        [T], [([100],), ([60],), ([50],), ([61],)], "PR PR PD",
    ),
    Example("the baseline may be the nadir: 100, 110, 119", [T], [([100],), ([110],), ([119],)], "SD SD"),
    Example(
        "slow growth adds up from the baseline: 100, 110, 121", [T], [([100],), ([110],), ([121],)], "SD PD"
    ),
    Example("a node below 10 mm is normal: complete response with a sum that is not 0", [N], [([20],), ([9.9],)], "CR"),
    Example("a node of 10 mm is not: half of 20 mm", [N], [([20],), ([10],)], "PR"),
    Example("a node that is normal, but a tumour that is left", [N, T], [([20, 30],), ([8, 30],)], "SD"),
    Example("tumour gone, node normal", [N, T], [([20, 30],), ([9, 0],)], "CR"),
    Example(
        "nodes that stay normal are complete response, whatever they do below 10 mm",
        [N, N], [([20, 20],), ([4, 4],), ([9, 9],)], "CR CR",
    ),
    Example("a new lesion is progression whatever the targets do", [T], [([100],), ([10], (), 1)], "PD"),
    Example(
        "targets gone, non-target lesions left: partial response",
        [T], [([50], ("present",)), ([0], ("present",))], "PR",
    ),
    Example("targets and non-targets gone", [T], [([50], ("present",)), ([0], ("gone",))], "CR"),
    Example(
        "targets gone, non-targets not looked at: partial response",
        [T], [([50], ("present",)), ([0], ("not_evaluated",))], "PR",
    ),
    Example(
        "unequivocal progression of non-targets, targets stable",
        [T], [([50], ("present",)), ([50], ("progressed",))], "PD",
    ),
    Example(
        "partial response stays one where non-targets were not all looked at",
        [T], [([50], ("present", "present")), ([30], ("gone", "not_evaluated"))], "PR",
    ),
    Example("a target that was not measured", [T, T], [([50, 50],), ([20, None],)], "NE"),
    Example(
        "although one was not measured, the other alone is 20 % above the sum",
        [T, T], [([50, 20],), ([90, None],)], "PD",
    ),
    Example(
        "a sum with a target missing is no nadir: 100, (40 + ?), 90",
        [T, T], [([60, 40],), ([40, None],), ([50, 40],)], "NE SD",
    ),
    Example("what was gone and is back after complete response", [T], [([50],), ([0],), ([6],)], "CR PD"),
    Example(
        "no targets: non-targets that stay are neither; when they are gone, complete response",
        [], [([], ("present",)), ([], ("present",)), ([], ("gone",))], "non-CR/non-PD CR",
    ),
    Example(
        "a non-target lesion that is back after everything was gone",
        [T], [([50], ("present",)), ([0], ("gone",)), ([0], ("present",))], "CR PD",
    ),
    Example(
        "a non-target lesion that is back while targets are left makes no progression",
        [T], [([50], ("present",)), ([30], ("gone",)), ([30], ("present",))], "PR PR",
    ),
    Example("nobody had a lesion: nothing can respond", [], [([],), ([],)], "NE"),
    Example("nobody had a lesion, now there is one", [], [([],), ([], (), 1)], "PD"),
    Example(
        "a visit that could not be read is not evaluable, and no nadir: 100, ?, 80, 97",
        [T], [([100],), ([None], (), 0, "damaged"), ([80],), ([97],)], "NE SD PD",
    ),
    Example("nobody looked, so nobody knows of new lesions", [], [([],), ([], (), 0, "damaged")], "NE"),
]  # fmt: skip


def test_there_are_thirty() -> None:
    assert len(EXAMPLES) >= 30
    assert len({example.reason for example in EXAMPLES}) == len(EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.reason)
def test_worked_examples(example: Example) -> None:
    visits = [Findings(tuple(visit[0]), *visit[1:]) for visit in example.visits]
    found = assess(example.nodes, visits)
    assert " ".join(own.overall for own in found) == example.expected
    assert all(own.reason or own.target is None for own in found)


def test_sums_and_changes() -> None:
    first, second, third = assess(
        [T, N],
        [Findings((60.0, 40.0)), Findings((30.0, 20.0)), Findings((30.0, None)), Findings((45.0, 20.0))],
    )
    assert (first.sum_mm, first.nadir_mm, first.from_baseline) == (50, 100, -0.5)
    assert (second.sum_mm, second.from_baseline, second.overall) == (None, None, Response.NE)
    assert (third.nadir_mm, third.from_nadir) == (50, pytest.approx(0.3))
    assert (third.overall, third.new_lesions) == (Response.PD, 0)


@pytest.mark.parametrize(
    ("target", "non_target", "new", "expected"),
    [
        ("CR", "CR", 0, "CR"),
        ("CR", "non-CR/non-PD", 0, "PR"),
        ("CR", "NE", 0, "PR"),
        ("PR", "non-CR/non-PD", 0, "PR"),
        ("PR", "NE", 0, "PR"),
        ("SD", "non-CR/non-PD", 0, "SD"),
        ("SD", "NE", 0, "SD"),
        ("NE", "non-CR/non-PD", 0, "NE"),
        ("PD", "CR", 0, "PD"),
        ("CR", "PD", 0, "PD"),
        ("CR", "CR", 1, "PD"),
        (None, "CR", 0, "CR"),
        (None, "non-CR/non-PD", 0, "non-CR/non-PD"),
        (None, "NE", 0, "NE"),
        (None, "PD", 0, "PD"),
        (None, "CR", 2, "PD"),
    ],
)
def test_the_tables_of_the_guideline(target: str | None, non_target: str, new: int, expected: str) -> None:
    own = None if target is None else Response(target)
    assert overall_response(own, Response(non_target), new)[0] == expected


@pytest.mark.parametrize(
    ("visits", "said"),
    [
        ([Findings((1.0,))], "a later visit"),
        ([Findings((1.0,)), Findings(())], "visit 1: 0 targets"),
        ([Findings((None,)), Findings((1.0,))], "measured at baseline"),
        ([Findings((1.0,)), Findings((-1.0,))], "from 0 on"),
        ([Findings((1.0,), unread="damaged"), Findings((1.0,))], "damaged"),
        ([Findings((1.0,), ("present",)), Findings((1.0,))], "0 non-target"),
    ],
)
def test_wrong_calls_are_named(visits: list[Findings], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        assess([T], visits)
