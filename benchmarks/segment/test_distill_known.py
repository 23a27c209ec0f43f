"""Distillation of a known rule."""

from __future__ import annotations

import numpy as np

from benchmarks.segment import distill_known


def test_scans_train_or_judge_never_both() -> None:
    assert (len(distill_known.TRAIN), len(distill_known.JUDGE)) == (11, 5)
    assert not set(distill_known.TRAIN) & set(distill_known.JUDGE)


def test_the_rule_finds_a_disc_bright_or_dark() -> None:
    y, x = np.mgrid[:40, :50]
    disc = (x - 25) ** 2 + (y - 20) ** 2 <= 100
    for inside, outside in ((120, 0), (-80, 40)):
        plane = np.where(disc, inside, outside) + np.random.default_rng(0).normal(0, 10, disc.shape)
        teacher = distill_known.RuleTeacher()
        (mask,), quality = teacher.decode(
            teacher.encode(plane.astype(np.int16)), [(14.5, 9.5, 35.5, 30.5)], disc.shape
        )
        assert 2 * (mask & disc).sum() / (mask.sum() + disc.sum()) > 0.95
        assert quality.tolist() == [1.0]
