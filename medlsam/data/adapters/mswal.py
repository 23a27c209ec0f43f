"""MSWAL: seven kinds of abdominal lesions, an nnU-Net dataset already.

``imagesTr/<case>_0000.nii.gz``, ``labelsTr/<case>.nii.gz`` and ``dataset.json`` with the values; published is the
training part. Neither the paper nor its repository says which value is which lesion, so a copy without a table is
refused.
"""

from __future__ import annotations

import re

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
        DatasetError: no table of names; a scan lies there twice, or a label map has no scan.
        TemplateError: the table of names is wrong.
    """
    own = _names(files)
    names = numbered(own[value] for value in sorted(own))
    cases: list[RawCase] = []
    for split, folder in _FOLDERS:
        scan, labels = (rf"images{folder}/([^/]+)_0000\.nii\.gz", rf"labels{folder}/([^/]+)\.nii\.gz")
        cases += pairs(files, split, scan, labels, "{}", own, names)
    return FoundCases(names, tuple(cases))


def _names(files: SourceFiles) -> dict[int, str]:
    tables = [name for name in files.names if re.fullmatch(r"(?:[^/]+/)?(?:labels|dataset)\.json", name)]
    if not tables:
        raise DatasetError(
            f"{files.root}: names of the values are needed: put dataset.json, or a labels.json "
            f'({{"{LESIONS[0]}": 1, ...}}), beside imagesTr; its lesions are {", ".join(LESIONS)}'
        )
    with files.at_hand(tables[:1]) as folder:
        return read_label_names(folder / tables[0].rpartition("/")[2])
