"""AMOS 2022: ``imagesTr``, ``labelsTr``, ``imagesVa``, ``labelsVa`` and ``imagesTs``; numbers from 500 on are MR."""

from __future__ import annotations

from medlsam.data.files import SourceFiles
from medlsam.data.label_values import numbered
from medlsam.data.nifti_pairs import pairs
from medlsam.data.source import FoundCases, RawCase, Split

#: In the order of their values. The ``dataset.json`` of the source has the same, with a slash and a misprint.
STRUCTURES = (
    "spleen",
    "right kidney",
    "left kidney",
    "gall bladder",
    "esophagus",
    "liver",
    "stomach",
    "aorta",
    "postcava",
    "pancreas",
    "right adrenal gland",
    "left adrenal gland",
    "duodenum",
    "bladder",
    "prostate or uterus",
)
_FIRST_MR = 500
_FOLDERS: tuple[tuple[Split, str], ...] = (("train", "Tr"), ("val", "Va"), ("test", "Ts"))


def find(files: SourceFiles) -> FoundCases:
    """The CT scans of the data set.

    Raises:
        DatasetError: a scan lies there twice, or there are label maps and no scan.
    """
    names = numbered(STRUCTURES)
    cases: list[RawCase] = []
    left_out: dict[str, str] = {}
    for split, folder in _FOLDERS:
        file = r"/amos_(\d{4})\.nii\.gz"
        for case in pairs(
            files, split, f"images{folder}{file}", f"labels{folder}{file}", "amos_{}", names, names
        ):
            if int(case.name[-4:]) < _FIRST_MR:
                cases.append(case)
            else:
                left_out[case.name] = "MR, not CT"
    return FoundCases(names, tuple(cases), left_out)
