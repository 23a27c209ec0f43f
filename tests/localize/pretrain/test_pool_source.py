"""A source reads patients off the names of its cases, and refuses expressions that say nothing."""

from __future__ import annotations

import pytest

from medlsam.errors import UsageError
from medlsam.localize.pretrain.pool_source import PoolSource


@pytest.mark.parametrize("expression", [r"^hcc_\d+", r"^(hcc_\d+)_", r"^(hcc_\d+)(_[ab])?"])
def test_names_tell_patients(expression: str) -> None:
    """All of the match, or its first group; what does not match stands for itself."""
    cases = ["hcc_005_a", "hcc_005_b", "hcc_007_a", "lung_1", "lung_2", "lung_1"]
    first, second, third, *others = PoolSource("ct", patient=expression).patient_of(cases)
    assert first == second
    assert len({first, third, *others}) == 4
    assert others[0] == others[2]
    assert PoolSource("ct").patient_of(cases) == [None] * 6


def test_a_case_without_a_match_is_no_other_ones_patient() -> None:
    """Neither by its name nor where the group took no part in the match."""
    seven, named, optional = PoolSource("ct", patient=r"p(\d+)|z").patient_of(["p7", "7", "z"])
    assert len({seven, named, optional}) == 3


def test_a_bad_expression_is_told() -> None:
    with pytest.raises(UsageError, match=r"ct: patient is no regular expression: '\(hcc'"):
        PoolSource("ct", patient="(hcc").patient_of(["a"])
