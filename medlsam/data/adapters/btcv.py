"""BTCV and folders like it: ``img/img0001.nii.gz`` beside ``label/label0001.nii.gz``.

A ``labels.json`` or ``dataset.json`` in the copy names other structures than BTCV's thirteen.
"""

from __future__ import annotations

import re

from medlsam.data.files import SourceFiles
from medlsam.data.label_values import numbered
from medlsam.data.nifti_pairs import pairs
from medlsam.data.source import FoundCases
from medlsam.io.label_names import read_label_names

#: In the order of their values.
STRUCTURES = (
    "spleen",
    "right kidney",
    "left kidney",
    "gallbladder",
    "esophagus",
    "liver",
    "stomach",
    "aorta",
    "inferior vena cava",
    "portal vein and splenic vein",
    "pancreas",
    "right adrenal gland",
    "left adrenal gland",
)


def find(files: SourceFiles) -> FoundCases:
    """The scans; those without a label map (BTCV's ``Testing``) are cases without labels.

    Raises:
        DatasetError: a scan lies there twice, or there are label maps and no scan.
        TemplateError: the table of names is wrong.
    """
    own = _own_names(files)
    names = numbered(own[value] for value in sorted(own))
    found = pairs(files, "train", r"img/img(\d+)\.nii\.gz", r"label/label(\d+)\.nii\.gz", "img{}", own, names)
    return FoundCases(names, tuple(found))


def _own_names(files: SourceFiles) -> dict[int, str]:
    tables = [name for name in files.names if re.fullmatch(r"(?:[^/]+/)?(?:labels|dataset)\.json", name)]
    if not tables:
        return numbered(STRUCTURES)
    with files.at_hand(tables[:1]) as folder:
        return read_label_names(folder / tables[0].rpartition("/")[2])
