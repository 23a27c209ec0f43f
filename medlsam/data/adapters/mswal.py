"""MSWAL: seven kinds of abdominal lesions, an nnU-Net dataset already.

``imagesTr/<case>_0000.nii.gz``, ``labelsTr/<case>.nii.gz`` and ``dataset.json`` with the values; published is the
training part. Neither the paper nor its repository says which value is which lesion, so a copy without a table is
refused.
"""

from __future__ import annotations

from medlsam.data.files import SourceFiles
from medlsam.data.label_values import numbered
from medlsam.data.nifti_pairs import pairs
from medlsam.data.source import FoundCases, RawCase, Split
from medlsam.errors import DatasetError
from medlsam.io.label_names import read_label_names

#: As the paper lists them; in which values is up to ``dataset.json``.
LESIONS = (
    "gallstone",
    "kidney stone",
    "liver tumor",
    "kidney tumor",
    "pancreatic cancer",
    "liver cyst",
    "kidney cyst",
)
_FOLDERS: tuple[tuple[Split, str], ...] = (("train", "Tr"), ("test", "Ts"))


def find(files: SourceFiles) -> FoundCases:
    """The scans of the data set; test scans have labels where the copy has them.

    Raises:
        DatasetError: no table of names; a scan lies there twice, or there are label maps and no scan.
        TemplateError: the table of names is wrong.
    """
    own = _names(files)
    names = numbered(own[value] for value in sorted(own))
    cases: list[RawCase] = []
    for split, folder in _FOLDERS:
        scan, labels = (
            rf"(?i:images{folder})/([^/]+)_0000\.nii(?:\.gz)?",
            rf"(?i:labels{folder})/([^/]+?)\.nii(?:\.gz)?",
        )
        cases += pairs(files, split, scan, labels, "{}", own, names)
    return FoundCases(names, tuple(cases))


def _names(files: SourceFiles) -> dict[int, str]:
    tables = [found.string for found in files.matching(r"(?i:(?:labels|dataset)\.json)")]
    if not tables:
        raise DatasetError(
            f"{files.root}: names of the values are needed: put dataset.json, or a labels.json "
            f'({{"{LESIONS[0]}": 1, ...}}), beside imagesTr; its lesions are {", ".join(LESIONS)}'
        )
    # The outermost is the data set's; what was trained on it lies in folders with tables of their own.
    table = min(tables, key=lambda name: name.count("/"))
    with files.at_hand([table]) as folder:
        return read_label_names(folder / table.rpartition("/")[2])
