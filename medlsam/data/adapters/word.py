"""WORD: ``imagesTr``, ``imagesVal`` and ``imagesTs`` with the label maps of the same names beside them."""

from __future__ import annotations

from medlsam.data.files import SourceFiles
from medlsam.data.label_values import numbered
from medlsam.data.nifti_pairs import pairs
from medlsam.data.source import FoundCases, Split

#: In the order of their values.
STRUCTURES = (
    "liver",
    "spleen",
    "left_kidney",
    "right_kidney",
    "stomach",
    "gallbladder",
    "esophagus",
    "pancreas",
    "duodenum",
    "colon",
    "intestine",
    "adrenal",
    "rectum",
    "bladder",
    "head_of_femur_left",
    "head_of_femur_right",
)
_FOLDERS: tuple[tuple[Split, str], ...] = (("train", "Tr"), ("val", "Val"), ("test", "Ts"))


def find(files: SourceFiles) -> FoundCases:
    """The scans of the data set.

    Raises:
        DatasetError: a scan lies there twice, or there are label maps and no scan.
    """
    names = numbered(STRUCTURES)
    file = r"/word_(\d{4})\.nii\.gz"
    cases = [
        case
        for split, folder in _FOLDERS
        for case in pairs(
            files, split, f"images{folder}{file}", f"labels{folder}{file}", "word_{}", names, names
        )
    ]
    return FoundCases(names, tuple(cases))
