"""LiTS: ``volume-<n>.nii`` beside ``segmentation-<n>.nii``, in any folders; ``test-volume-<n>.nii`` has no labels."""

from __future__ import annotations

from medlsam.data.files import SourceFiles
from medlsam.data.label_values import numbered
from medlsam.data.nifti_pairs import pairs
from medlsam.data.source import FoundCases

#: In the order of their values.
STRUCTURES = ("liver", "liver tumor")
_END = r"-(\d+)\.nii(?:\.gz)?"


def find(files: SourceFiles) -> FoundCases:
    """The scans of the challenge.

    Raises:
        DatasetError: a scan lies there twice, or a label map has no scan.
    """
    names = numbered(STRUCTURES)
    train = pairs(files, "train", f"volume{_END}", f"segmentation{_END}", "lits_{}", names, names)
    test = pairs(
        files, "test", f"test-volume{_END}", f"test-segmentation{_END}", "lits_test_{}", names, names
    )
    return FoundCases(names, (*train, *test))
