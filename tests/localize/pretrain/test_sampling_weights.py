"""How often each collection and region is drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medlsam.localize.pretrain.sampling_weights import balanced_weights, patient_weights


def test_balance_makes_groups_equal_and_leaves_the_rest() -> None:
    groups = [("a", "head")] * 90 + [("b", "head")] * 10 + [None] * 2
    weights = np.ones(102)

    def shares(balance: float) -> list[float]:
        balanced = balanced_weights(weights, groups, balance)
        assert balanced.sum() == pytest.approx(102)
        return [float(part.sum()) for part in np.split(balanced, [90, 100])]

    assert shares(0) == pytest.approx([90, 10, 2])
    assert shares(1) == pytest.approx([50, 50, 2])
    assert shares(0.5) == pytest.approx([75, 25, 2])  # roots of 9 to 1
    weights[:10] = 2  # the ratios within a group stay
    balanced = balanced_weights(weights, groups, 1)
    assert balanced[0] == pytest.approx(2 * balanced[20])


def test_balance_leaves_a_pool_that_knows_no_groups() -> None:
    weights = np.array([0.1, 0.4])
    assert balanced_weights(weights, [None, None], 1.0) is weights


def test_a_group_that_is_switched_off_stays_off() -> None:
    balanced = balanced_weights(np.array([0.0, 1.0, 3.0]), [("a", ""), ("b", ""), ("c", "")], 1.0)
    assert balanced == pytest.approx([0.0, 2.0, 2.0])


@given(share=st.floats(0.01, 0.99), balance=st.floats(0, 1))
def test_balance_never_turns_the_order_of_groups(share: float, balance: float) -> None:
    weights = np.array([share, 1 - share])
    balanced = balanced_weights(weights, [("a", ""), ("b", "")], balance)
    assert (balanced[0] - balanced[1]) * (weights[0] - weights[1]) >= -1e-9


def test_patients_of_a_source_are_equal_and_sources_keep_their_share() -> None:
    patients = [(0, "a")] * 4 + [(0, "b")] + [(1, "a")] * 2 + [None]
    weights = np.array([0.1, 0.1, 0.1, 0.1, 0.1, 0.3, 0.3, 0.7])
    equal = patient_weights(weights, patients)
    assert equal == pytest.approx([0.0625] * 4 + [0.25] + [0.3] * 2 + [0.7])
    assert patient_weights(weights, [None] * 8) == pytest.approx(weights, abs=0)
