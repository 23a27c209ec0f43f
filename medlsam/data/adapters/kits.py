"""KiTS 2019, 2021, 2023: ``case_00000/imaging.nii.gz`` and ``segmentation.nii.gz`` (2021: the majority's of several).

Cysts have a value from 2021 on. What single annotators drew lies in folders of its own and is not read.
"""

from __future__ import annotations

from medlsam.data.files import SourceFiles
from medlsam.data.label_values import numbered
from medlsam.data.nifti_pairs import pairs
from medlsam.data.source import FoundCases

#: In the order of their values.
STRUCTURES = ("kidney", "kidney tumor", "kidney cyst")


def find(files: SourceFiles) -> FoundCases:
    """The scans of the challenge.

    Raises:
        DatasetError: a scan lies there twice, or no scan is there: only the labels are in the repository, and its
            script fetches the scans.
    """
    names = numbered(STRUCTURES)
    scan, labels = (
        rf"(?i:case_(\d{{5}})/(?:{file})\.nii(?:\.gz)?)"
        for file in ("imaging", "segmentation|aggregated_MAJ_seg")
    )
    return FoundCases(names, tuple(pairs(files, "train", scan, labels, "kits_{}", names, names)))
