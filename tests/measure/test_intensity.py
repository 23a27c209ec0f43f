import numpy as np
import pytest

from medlsam.measure.intensity import intensity_figures


def test_percentiles_do_not_feel_a_few_voxels_of_metal() -> None:
    values = np.arange(0, 101, dtype=np.int16)
    assert intensity_figures(values) == {
        "mean_hu": 50.0,
        "std_hu": pytest.approx(29.15, abs=0.01),
        "p5_hu": 5.0,
        "median_hu": 50.0,
        "p95_hu": 95.0,
    }
    values[-3:] = 30_000
    assert intensity_figures(values)["mean_hu"] > 900
    assert intensity_figures(values)["p95_hu"] == 95.0


def test_large_values_of_a_small_type_do_not_overflow() -> None:
    assert intensity_figures(np.full(10, 30_000, np.int16))["std_hu"] == 0.0
    assert intensity_figures(np.full(1, -1024.5, np.float32))["median_hu"] == -1024.5
