"""A tuner of each kind, with random weights."""

from __future__ import annotations

import pytest

from medlsam.segment.finetune.crop_tuner import CropTuner
from medlsam.segment.finetune.slice_tuner import SliceTuner
from tests.support.data.tuning_data import crop_tuner, slice_tuner


@pytest.fixture
def tiny() -> CropTuner:
    return crop_tuner()


@pytest.fixture
def sam() -> SliceTuner:
    return slice_tuner()
