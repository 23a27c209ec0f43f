"""ITK-SNAP's list of labels: load it there, and a label map shows names and colours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medlsam.export.anatomy import colour_of
from medlsam.runtime.atomic_files import write_text

_HEAD = """\
################################################
# ITK-SnAP Label Description File
# File format:
# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL
# Where:
#    IDX:   Zero-based index
#    -R-:   Red color component (0..255)
#    -G-:   Green color component (0..255)
#    -B-:   Blue color component (0..255)
#    -A-:   Label transparency (0.00 .. 1.00)
#    VIS:   Label visibility (0 or 1)
#    MSH:   Label mesh visibility (0 or 1)
#  LABEL:   Label description
################################################
    0     0    0    0        0  0  0    "Clear Label"
"""


def write_itksnap_labels(names: Mapping[int, str], path: Path) -> None:
    """Write the label descriptions (File > Import Label Descriptions in ITK-SNAP).

    Args:
        names: label value to structure.
        path: of the text file.
    """
    lines = []
    for value, name in sorted(names.items()):
        red, green, blue = colour_of(name)
        text = " ".join(name.split()).replace('"', "'")
        lines.append(f'{value:5d} {red:5d} {green:4d} {blue:4d}        1  1  1    "{text}"\n')
    write_text(path, _HEAD + "".join(lines))
