"""Boxes of structures: ROIs of 3D Slicer, or those of a ``localization.json``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from medlsam.errors import UsageError
from medlsam.geometry import Box
from medlsam.io.slicer_markups.nodes import BROKEN, file_stem, read_content, read_nodes, stem
from medlsam.results import Localization


def read_boxes(
    path: Path | str, structures: Collection[str] = (), *, required: bool = True
) -> dict[str, Box]:
    """Boxes of structures, from the ROI nodes of a markups file or from a ``localization.json``.

    A rotated ROI becomes the box along the LPS axes around it, with a warning.

    Args:
        path: ``boxes.mrk.json``, an ROI that Slicer saved, or ``localization.json``: of that the located boxes of the
            structures that were found or are uncertain.
        structures: the names that are known: a node without a name is called as its file, or as the label of its point
            where only that is among them.
        required: whether a file without a box is an error.

    Returns:
        Structure to its box, LPS mm.

    Raises:
        UsageError: the file cannot be read, holds no box, or two of one structure.
        GeometryError: a box that is not finite.
    """
    path = Path(path)
    content = read_content(path, UsageError)
    if isinstance(content, Mapping) and "organs" in content:
        try:
            located = Localization.from_dict(content).structures
        except BROKEN as error:
            raise UsageError(f"{path}: not a localization.json ({type(error).__name__}: {error})") from error
        return {name: s.located_box for name, s in located.items() if s.present and s.located_box is not None}
    boxes: dict[str, Box] = {}
    for node in read_nodes(path, UsageError):
        if node.box is None:
            continue
        called = [name for name in (file_stem(path), node.label, stem(node.label)) if name in structures]
        name = node.name or (called or [file_stem(path)])[0]
        if name in boxes:
            raise UsageError(f"{path}: holds two boxes of {name}; keep one")
        boxes[name] = node.box
    if required and not boxes:
        raise UsageError(
            f"{path}: holds no box; draw an ROI for each structure and give it the structure's name"
        )
    return boxes
