"""Extreme points drawn by hand: 3D Slicer markups (``.mrk.json``)."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medlsam.errors import TemplateError
from medlsam.geometry import ExtremePoints

# Slicer wrote numbers before it wrote names.
_TO_LPS = {"LPS": (1, 1, 1), "1": (1, 1, 1), "RAS": (-1, -1, 1), "0": (-1, -1, 1)}


def read_markups(path: Path | str) -> dict[str, ExtremePoints]:
    """Six extreme points per structure from a 3D Slicer markups file.

    A markups node belongs to the structure of its ``name``; without one, the points are grouped by their labels
    without the number at the end (``Mandible-1``). The six points may come in any order; RAS becomes LPS.

    Returns:
        Organ to its extreme points, LPS mm.

    Raises:
        TemplateError: naming the structure and what is wrong with its points.
    """
    path = Path(path)
    try:
        nodes = json.loads(path.read_text(encoding="utf-8"))["markups"]
        points: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
        for node in nodes:
            signs = _signs(node, path)
            for control in node.get("controlPoints", []):
                if control.get("positionStatus", "defined") != "defined":
                    continue
                structure = str(node.get("name") or _stem(str(control.get("label", ""))))
                points[structure].append(np.asarray(control["position"], dtype=float).reshape(3) * signs)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TemplateError(
            f"{path}: not a 3D Slicer markups file ({type(error).__name__}: {error})"
        ) from error
    if not points:
        raise TemplateError(f"{path}: no points in this file; place six extreme points per structure")
    return {structure: _extreme(structure, np.stack(placed), path) for structure, placed in points.items()}


def _signs(node: dict[str, Any], path: Path) -> NDArray[np.float64]:
    system = str(node.get("coordinateSystem", "LPS"))
    if system not in _TO_LPS:
        raise TemplateError(f"{path}: coordinate system {system!r} is neither LPS nor RAS")
    return np.asarray(_TO_LPS[system], dtype=float)


def _stem(label: str) -> str:
    return re.sub(r"[-_ ]*\d+$", "", label).strip() or label


def _extreme(structure: str, points: NDArray[np.float64], path: Path) -> ExtremePoints:
    if len(points) != 6:
        raise TemplateError(
            f"{path}: {structure} has {len(points)} points; six are needed "
            "(left, right, front, back, top and bottom)"
        )
    if not np.ptp(points, axis=0).min() > 0:
        raise TemplateError(
            f"{path}: the six points of {structure} lie in one plane or are not numbers; place them anew"
        )
    return ExtremePoints.from_unordered(points)
