"""Mean and spread of figures: what every number about quality is printed with."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np


def summarize(values: Iterable[float]) -> dict[str, Any]:
    """``mean``, ``std`` (of the sample; 0 for one value) and ``n`` of the values that exist, else None."""
    kept = np.asarray([value for value in values if not math.isnan(value)], dtype=float)
    if kept.size == 0:
        return {"mean": None, "std": None, "n": 0}
    std = float(kept.std(ddof=1)) if kept.size > 1 else 0.0
    return {"mean": round(float(kept.mean()), 4), "std": round(std, 4), "n": int(kept.size)}
