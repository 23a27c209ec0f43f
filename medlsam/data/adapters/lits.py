"""LiTS: ``volume-<n>.nii`` beside ``segmentation-<n>.nii``, in any folders; ``test-volume-<n>.nii`` has no labels."""

from __future__ import annotations

from medlsam.data.files import SourceFiles
from medlsam.data.label_values import numbered
from medlsam.data.nifti_pairs import pairs
from medlsam.data.source import FoundCases

#: In the order of their values.
STRUCTURES = ("liver", "liver tumor")


def find(files: SourceFiles) -> FoundCases:
    """The scans of the challenge.

    Raises:
        DatasetError: a scan lies there twice, or there are label maps and no scan.
    """
    names = numbered(STRUCTURES)
    train = pairs(files, "train", _files("volume"), _files("segmentation"), "lits_{}", names, names)
    test = pairs(
        files, "test", _files("test-volume"), _files("test-segmentation"), "lits_test_{}", names, names
    )
    return FoundCases(names, (*train, *test))


def _files(name: str) -> str:
    return rf"(?i:{name}-(\d+)\.nii(?:\.gz)?)"
