"""The weights that medlsam knows by name: shipped, downloaded with a sha256, or brought by the user. No torch.

Downloads lie in ``MEDLSAM_HOME`` (default: the user's cache folder), subfolder ``weights``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from medlsam.runtime.atomic_files import read_sums

#: ``lesion-network`` are trained by users only: none is known by name.
Kind = Literal["localizer", "segmenter", "lesion-network"]

#: Folder of the weights that ship.
SHIPPED_DIR = Path(__file__).resolve().parent
_META = "https://dl.fbaipublicfiles.com/segment_anything/"
_SA_1B = "SA-1B, 11 million photographs with 1.1 billion masks"


def cache_dir() -> Path:
    """Return the folder of downloads: ``$MEDLSAM_HOME/weights``, or ``weights`` in the user's cache folder."""
    home = os.environ.get("MEDLSAM_HOME")
    if home:
        return Path(home).expanduser() / "weights"
    import pooch

    return Path(pooch.os_cache("medlsam")) / "weights"


@dataclass(frozen=True)
class WeightsEntry:
    """One file of weights, by name.

    Attributes:
        name: what users write.
        kind: ``localizer`` or ``segmenter``.
        file: the file's name: in the package where it ships, in the cache folder otherwise, and at a mirror.
        licence: of the weights.
        description: one line for ``medlsam weights list``.
        trained_on: the data that they were trained on, as their makers say.
        shipped: whether the file lies inside the package.
        url: address of the download; None where the file ships or has to be brought.
        known_sha256: sum recorded here; see ``sha256``.
        bytes: size of the published file; None where unknown.
        source: where to get a file that has no ``url``, and why it is not downloaded by itself.
        given_as: flags that name a file which was brought and lies elsewhere.
    """

    name: str
    kind: Kind
    file: str
    licence: str
    description: str
    trained_on: str = ""
    shipped: bool = False
    url: str | None = None
    known_sha256: str | None = None
    bytes: int | None = None
    source: str = ""
    given_as: str = ""

    @property
    def path(self) -> Path:
        """Path of the file, present or not."""
        return (SHIPPED_DIR if self.shipped else cache_dir()) / self.file

    @property
    def sha256(self) -> str | None:
        """Expected sha256: from ``SHA256SUMS`` where the file ships; None where none was published."""
        return read_sums(SHIPPED_DIR).get(self.file) if self.shipped else self.known_sha256


_ENTRIES = (
    WeightsEntry(
        name="medlam-tiny",
        kind="localizer",
        file="medlam-tiny.safetensors",
        licence="Apache-2.0",
        description="dense encoder trained by this project on public CT and phantoms (default)",
        trained_on="OpenKBP and other public CT (198 scans), without labels; phantoms",
        shipped=True,
    ),
    WeightsEntry(
        name="published",
        kind="localizer",
        file="medlam.pth",
        licence="CC BY-NC 4.0 (its readme; the LICENSE file beside it is Apache-2.0)",
        description="MedLAM, the network of the paper (OpenMEDLab)",
        trained_on="14,012 CT scans of 16 public data sets, without labels (as the paper says)",
        source=(
            "the link of https://github.com/openmedlab/MedLSAM (medlam.pth): a shared drive with a page to click "
            "through, a licence that forbids commercial use, and no published sha256"
        ),
        given_as="--localizer published --weights medlam.pth",
    ),
    WeightsEntry(
        name="sam-tiny",
        kind="segmenter",
        file="sam-tiny.safetensors",
        licence="Apache-2.0",
        description="small image encoder with SAM's prompt encoder and mask decoder, trained here (default)",
        trained_on="contours of OpenKBP (142 scans), organs and regions of other public CT; phantoms",
        shipped=True,
    ),
    # The hex digits in Meta's file names are not the start of the sha256. The sums below are those that
    # micro-sam's registry and many other public users of the same URLs record.
    WeightsEntry(
        name="sam_vit_b",
        kind="segmenter",
        file="sam_vit_b_01ec64.pth",
        licence="Apache-2.0",
        description="Segment Anything, ViT-B image encoder (Meta AI)",
        trained_on=_SA_1B,
        url=f"{_META}sam_vit_b_01ec64.pth",
        known_sha256="ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        bytes=375_042_383,
    ),
    WeightsEntry(
        name="sam_vit_l",
        kind="segmenter",
        file="sam_vit_l_0b3195.pth",
        licence="Apache-2.0",
        description="Segment Anything, ViT-L image encoder (Meta AI)",
        trained_on=_SA_1B,
        url=f"{_META}sam_vit_l_0b3195.pth",
        known_sha256="3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        bytes=1_249_524_607,
    ),
    WeightsEntry(
        name="sam_vit_h",
        kind="segmenter",
        file="sam_vit_h_4b8939.pth",
        licence="Apache-2.0",
        description="Segment Anything, ViT-H image encoder (Meta AI)",
        trained_on=_SA_1B,
        url=f"{_META}sam_vit_h_4b8939.pth",
        known_sha256="a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        bytes=2_564_550_879,
    ),
    WeightsEntry(
        name="medsam_vit_b",
        kind="segmenter",
        file="medsam_vit_b.pth",
        licence="Apache-2.0 (code); see the place of download for the weights",
        description="MedSAM: SAM ViT-B fine-tuned on medical images (bowang-lab)",
        trained_on="1.57 million image-mask pairs of ten medical modalities",
        source=(
            "the links of https://github.com/bowang-lab/MedSAM, or record 10689643 of zenodo.org "
            "(medsam_vit_b.pth, md5 3bb6db55bd0c9ca30b61248bca72f8d6); no sha256 is published"
        ),
        given_as="--segmenter medsam_vit_b.pth",
    ),
    WeightsEntry(
        name="litemedsam",
        kind="segmenter",
        file="lite_medsam.pth",
        licence="Apache-2.0 (code); see the place of download for the weights",
        description="LiteMedSAM: MedSAM with a TinyViT image encoder on 256 pixels (bowang-lab)",
        trained_on='public medical images of the challenge "Segment Anything in Medical Images on Laptop"',
        source=(
            "the link of https://github.com/bowang-lab/MedSAM/tree/LiteMedSAM (lite_medsam.pth); its publishers "
            "give no sha256"
        ),
        given_as="--segmenter lite_medsam.pth",
    ),
    # The publishers give no sum, but git does: at this commit the file is blob
    # 7ef2d090979fd9853adf17b7a99c8b94a1c5a6a7, and many public users of this URL record the sha256 below for it.
    WeightsEntry(
        name="mobile_sam",
        kind="segmenter",
        file="mobile_sam.pt",
        licence="Apache-2.0",
        description="MobileSAM: SAM with a TinyViT image encoder (Chaoning Zhang et al.)",
        trained_on="1 % of SA-1B, as a student of SAM ViT-H",
        url=(
            "https://raw.githubusercontent.com/ChaoningZhang/MobileSAM/"
            "f706ad9c4eb7f219c00d9050e46328518ffb65d2/weights/mobile_sam.pt"
        ),
        known_sha256="6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
        bytes=40_728_226,
    ),
)

#: Every known file by name.
ENTRIES: Mapping[str, WeightsEntry] = MappingProxyType({e.name: e for e in _ENTRIES})
