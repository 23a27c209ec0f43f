"""The public data sets that medlsam knows. What is written here is shown to users, and made into a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from medlsam.data.adapters import (
    amos,
    btcv,
    deeplesion,
    hcuch,
    kits,
    land3d,
    lidc,
    lits,
    mswal,
    openkbp,
    totalsegmentator,
    word,
)
from medlsam.data.files import SourceFiles
from medlsam.data.source import DataSource, FoundCases
from medlsam.errors import UsageError
from medlsam.runtime.http_transfer import Remote


def _hcuch(name: str, dataset: str, what: str, find: Callable[[SourceFiles], FoundCases]) -> DataSource:
    """The HCUCH data set with one choice of classes; all share the zip."""
    return DataSource(
        name=name,
        title="HCUCH: CT with RECIST measurements",
        contents=what,
        licence="CC-BY-4.0",
        licence_url="https://creativecommons.org/licenses/by/4.0/",
        citation="Rojas-Pizarro et al., A CT dataset with RECIST measurements and comprehensive segmentation masks for "
        "tumors and lymph nodes; data: doi.org/10.5281/zenodo.17788162",
        homepage="https://zenodo.org/records/17788162",
        dataset=dataset,
        find=find,
        expected="images/<abdomen|thorax>/<train|test>/{images,masks,labels}/<patient>_<series>.{nii.gz,json}",
        # The record's file as the authors' repository names it; its sum could not be read when this was written.
        archive=Remote("https://zenodo.org/records/17788162/files/final-formatted.zip?download=1"),
        archive_file="hcuch-final-formatted.zip",
    )


_SOURCES = (
    DataSource(
        name="openkbp",
        title="OpenKBP",
        contents="340 head-and-neck CT in 128 x 128 x 128 voxels, seven organs at risk",
        licence="MIT (repository); the patients come from public collections of TCIA",
        licence_url="https://github.com/ababier/open-kbp/blob/master/LICENSE",
        citation="Babier et al., OpenKBP: the open-access knowledge-based planning grand challenge, "
        "Med. Phys. 48 (2021)",
        homepage="https://github.com/ababier/open-kbp",
        dataset="Dataset701_OpenKBP",
        find=openkbp.find,
        expected="provided-data/{train,valid,test}-pats/pt_<n>/ct.csv",
        # The repository's own archive: GitHub publishes no sum of it.
        archive=Remote("https://github.com/ababier/open-kbp/archive/refs/heads/master.zip"),
        archive_file="open-kbp-master.zip",
    ),
    DataSource(
        name="totalsegmentator",
        title="TotalSegmentator v2.0.1",
        contents="1,228 CT of all regions at 1.5 mm, 117 structures",
        licence="CC-BY-4.0",
        licence_url="https://creativecommons.org/licenses/by/4.0/",
        citation="Wasserthal et al., TotalSegmentator: robust segmentation of 104 anatomic structures in CT images, "
        "Radiol. Artif. Intell. 5 (2023)",
        homepage="https://zenodo.org/records/10047292",
        dataset="Dataset702_TotalSegmentator",
        find=totalsegmentator.find,
        expected="s<nnnn>/ct.nii.gz with s<nnnn>/segmentations/<structure>.nii.gz, and meta.csv",
        bytes=23_581_218_285,
        # md5 as Zenodo states it.
        archive=Remote(
            "https://zenodo.org/records/10047292/files/Totalsegmentator_dataset_v201.zip?download=1",
            "md5:fe250e5718e0a3b5df4c4ea9d58a62fe",
            23_581_218_285,
        ),
        archive_file="Totalsegmentator_dataset_v201.zip",
    ),
    DataSource(
        name="amos",
        title="AMOS 2022",
        contents="abdominal CT (its MR scans are left out), 15 organs",
        # Its pages do not agree and could not be read when this was written: the stricter one is shown.
        licence="CC-BY-NC on the OpenReview page of its paper; what counts is its Zenodo record",
        licence_url="https://zenodo.org/records/7155725",
        citation="Ji et al., AMOS: a large-scale abdominal multi-organ benchmark for versatile medical image "
        "segmentation, NeurIPS Datasets and Benchmarks (2022)",
        homepage="https://zenodo.org/records/7155725",
        dataset="Dataset703_AMOS2022",
        find=amos.find,
        expected="imagesTr/amos_<nnnn>.nii.gz and labelsTr, also imagesVa, labelsVa, imagesTs",
        # The sum that the registry of torch-em records for this address.
        archive=Remote(
            "https://zenodo.org/records/7155725/files/amos22.zip?download=1",
            "sha256:d2fbf2c31abba9824d183f05741ce187b17905b8cca64d1078eabf1ba96775c2",
        ),
        archive_file="amos22.zip",
    ),
    DataSource(
        name="word",
        title="WORD v0.1.0",
        contents="150 abdominal CT before radiotherapy, 16 organs",
        licence="GPL-3.0, and for academic research only, as its makers write",
        licence_url="https://github.com/HiLab-git/WORD",
        citation="Luo et al., WORD: a large scale dataset, benchmark and clinical applicable study for abdominal organ "
        "segmentation from CT image, Med. Image Anal. 82 (2022)",
        homepage="https://github.com/HiLab-git/WORD",
        dataset="Dataset704_WORD",
        find=word.find,
        expected="imagesTr/word_<nnnn>.nii.gz and labelsTr, also imagesVal, labelsVal, imagesTs, labelsTs",
        how_to_get="ask for access to the drive that https://github.com/HiLab-git/WORD links, and for the password of "
        "the zip from your affiliation's e-mail address; unpack it with that",
    ),
    DataSource(
        name="btcv",
        title="BTCV: Multi-Atlas Labeling Beyond the Cranial Vault, abdomen",
        contents="50 abdominal CT, 13 organs in the 30 of its training; or any folder laid out like it",
        licence="the terms of the challenge on Synapse, to be agreed to there",
        licence_url="https://www.synapse.org/#!Synapse:syn3193805/wiki/217785",
        citation="Landman et al., MICCAI Multi-Atlas Labeling Beyond the Cranial Vault: workshop and challenge (2015)",
        homepage="https://www.synapse.org/#!Synapse:syn3193805/wiki/217789",
        dataset="Dataset705_BTCV",
        find=btcv.find,
        expected="img/img<nnnn>.nii.gz and label/label<nnnn>.nii.gz",
        how_to_get="make an account at https://www.synapse.org, join the challenge syn3193805 and agree to its terms, "
        "then take RawData.zip from Files, Abdomen",
    ),
    DataSource(
        name="lidc",
        title="LIDC-IDRI",
        contents="1,018 chest CT, without labels here",
        licence="CC-BY-3.0",
        licence_url="https://creativecommons.org/licenses/by/3.0/",
        citation="Armato et al., The Lung Image Database Consortium (LIDC) and Image Database Resource Initiative "
        "(IDRI), Med. Phys. 38 (2011); data: doi.org/10.7937/K9/TCIA.2015.LO9QL9SX",
        homepage="https://www.cancerimagingarchive.net/collection/lidc-idri/",
        dataset="Dataset706_LIDCIDRI",
        find=lidc.find,
        expected="folders with one DICOM series each",
        online=lidc.online,
    ),
    _hcuch(
        "hcuch",
        "Dataset707_HCUCH",
        "58 CT of chest or abdomen, 1,246 lesions: primary tumours, metastases, lymph nodes",
        hcuch.find,
    ),
    _hcuch(
        "hcuch-lung",
        "Dataset708_HCUCHLung",
        "of HCUCH the scans with tumours of the lung, as one class",
        partial(hcuch.of_site, site="lung"),
    ),
    _hcuch(
        "hcuch-liver",
        "Dataset709_HCUCHLiver",
        "of HCUCH the scans with tumours of the liver, as one class",
        partial(hcuch.of_site, site="liver"),
    ),
    DataSource(
        name="mswal",
        title="MSWAL",
        contents="abdominal CT (694, of which the training part is published), seven kinds of lesions",
        licence="as its page says; none was seen when this was written",
        licence_url="https://huggingface.co/datasets/zhaodongwu/MSWAL",
        citation="Wu et al., MSWAL: 3D multi-class segmentation of whole abdominal lesions dataset, MICCAI (2025)",
        homepage="https://github.com/tiuxuxsh76075/MSWAL-",
        dataset="Dataset710_MSWAL",
        find=mswal.find,
        expected="imagesTr/<case>_0000.nii.gz, labelsTr/<case>.nii.gz and dataset.json",
        how_to_get="take it from https://huggingface.co/datasets/zhaodongwu/MSWAL, with its dataset.json",
    ),
    DataSource(
        name="lits",
        title="LiTS 2017",
        contents="201 abdominal CT, liver and its tumours in the 131 of its training",
        licence="CC-BY-NC-ND-4.0",
        licence_url="https://creativecommons.org/licenses/by-nc-nd/4.0/",
        citation="Bilic et al., The liver tumor segmentation benchmark (LiTS), Med. Image Anal. 84 (2023)",
        homepage="https://competitions.codalab.org/competitions/17094",
        dataset="Dataset711_LiTS",
        find=lits.find,
        expected="volume-<n>.nii with segmentation-<n>.nii, and test-volume-<n>.nii",
        how_to_get="make an account at https://competitions.codalab.org, join competition 17094 and take its training "
        "batches 1 and 2",
    ),
    DataSource(
        name="kits",
        title="KiTS 2019, 2021, 2023",
        contents="up to 489 abdominal CT with labels, kidneys with tumours and cysts (2019: without cysts)",
        licence="CC-BY-NC-SA-4.0",
        licence_url="https://creativecommons.org/licenses/by-nc-sa/4.0/",
        citation="Heller et al., The state of the art in kidney and kidney tumor segmentation in contrast-enhanced CT "
        "imaging: results of the KiTS19 challenge, Med. Image Anal. 67 (2021)",
        homepage="https://kits-challenge.org/kits23/",
        dataset="Dataset712_KiTS",
        find=kits.find,
        expected="case_<nnnnn>/imaging.nii.gz and segmentation.nii.gz (2021: aggregated_MAJ_seg.nii.gz)",
        how_to_get="clone https://github.com/neheller/kits23 and run its download, which fetches the scans; give its "
        "folder dataset",
    ),
    DataSource(
        name="deeplesion",
        title="DeepLesion",
        contents="the slices around 32,735 lesions, with a box and diameters of each, without masks",
        licence="as NIH publishes it: free use with citation, no re-identification; see its README",
        licence_url="https://nihcc.app.box.com/v/DeepLesion",
        citation="Yan et al., DeepLesion: automated mining of large-scale lesion annotations and universal lesion "
        "detection with deep learning, J. Med. Imaging 5 (2018)",
        homepage="https://nihcc.app.box.com/v/DeepLesion",
        dataset="Dataset713_DeepLesion",
        find=deeplesion.find,
        expected="<patient>_<study>_<series>/<slice>.png of 16 bits, and DL_info.csv",
        how_to_get="take DL_info.csv and as many of Images_png_01.zip to _56.zip as you want from "
        "https://nihcc.app.box.com/v/DeepLesion, and unpack them into one folder",
    ),
    DataSource(
        name="3dland",
        title="3DLAND",
        contents="of DeepLesion the lesions of abdominal organs, with their organ, and masks where you have them",
        licence="CC-BY-4.0 (masks and table); DeepLesion's for the scans",
        licence_url="https://creativecommons.org/licenses/by/4.0/",
        citation="Advand et al., 3DLAND: 3D lesion abdominal anomaly localization dataset, arXiv 2602.12820 (2026)",
        homepage="https://mehrn79.github.io/3DLAND",
        dataset="Dataset714_3DLAND",
        find=land3d.find,
        expected="3DLAND_Info.csv and masks/<series>_<slice>.{png,nii.gz} beside DeepLesion's slices and DL_info.csv",
        how_to_get="take DeepLesion, and 3DLAND_Info.csv and the masks from https://github.com/mehrn79/3DLAND, into "
        "one folder",
    ),
)

#: Every source by the name that users write.
SOURCES: Mapping[str, DataSource] = MappingProxyType({source.name: source for source in _SOURCES})


def source_of(name: str) -> DataSource:
    """Look a source up.

    Raises:
        UsageError: no such name; the message lists the known ones.
    """
    if name not in SOURCES:
        raise UsageError(f"no public data set is called {name!r}; there are: {', '.join(SOURCES)}")
    return SOURCES[name]
