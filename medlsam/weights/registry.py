"""The weights that medlsam knows by name: shipped, downloaded with a sha256, or brought by the user. No torch.

Downloads lie in ``MEDLSAM_HOME`` (default: the user's cache folder), subfolder ``weights``;
``MEDLSAM_OFFLINE=1`` forbids them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from medlsam.errors import WeightsError
from medlsam.runtime.atomic_files import read_sums, sha256_of

Kind = Literal["localizer", "segmenter"]
State = Literal["ok", "absent", "damaged", "unverified"]

#: Folder of the weights that ship.
SHIPPED_DIR = Path(__file__).resolve().parent
_META = "https://dl.fbaipublicfiles.com/segment_anything/"
_OFF = ("", "0", "false", "no", "off")


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
        file: the file's name, in the package where it ships and in the cache folder otherwise.
        licence: of the weights.
        description: one line for ``medlsam weights list``.
        shipped: whether the file lies inside the package.
        url: address of the download; None where the file ships or has to be brought.
        known_sha256: sum recorded here; see ``sha256``.
        bytes: size of the published file; None where unknown.
        source: where to get a file that has no ``url``.
    """

    name: str
    kind: Kind
    file: str
    licence: str
    description: str
    shipped: bool = False
    url: str | None = None
    known_sha256: str | None = None
    bytes: int | None = None
    source: str = ""

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
        shipped=True,
    ),
    WeightsEntry(
        name="published",
        kind="localizer",
        file="medlam.pth",
        licence="CC BY-NC 4.0 (its readme; the LICENSE file beside it is Apache-2.0)",
        description="MedLAM, the network of the paper (OpenMEDLab); bring the file: --weights medlam.pth",
        source="the link of https://github.com/openmedlab/MedLSAM (medlam.pth); no sha256 is published",
    ),
    WeightsEntry(
        name="sam-tiny",
        kind="segmenter",
        file="sam-tiny.safetensors",
        licence="Apache-2.0",
        description="small image encoder with SAM's prompt encoder and mask decoder, trained here (default)",
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
        source=(
            "the links of https://github.com/bowang-lab/MedSAM, or record 10689643 of zenodo.org "
            "(medsam_vit_b.pth, md5 3bb6db55bd0c9ca30b61248bca72f8d6); no sha256 is published"
        ),
    ),
    WeightsEntry(
        name="litemedsam",
        kind="segmenter",
        file="lite_medsam.pth",
        licence="Apache-2.0 (code); see the place of download for the weights",
        description="LiteMedSAM: MedSAM with a TinyViT image encoder on 256 pixels (bowang-lab)",
        source=(
            "the link of https://github.com/bowang-lab/MedSAM/tree/LiteMedSAM (lite_medsam.pth); its publishers "
            "give no sha256"
        ),
    ),
    # The publishers give no sum, but git does: at this commit the file is blob
    # 7ef2d090979fd9853adf17b7a99c8b94a1c5a6a7, and many public users of this URL record the sha256 below for it.
    WeightsEntry(
        name="mobile_sam",
        kind="segmenter",
        file="mobile_sam.pt",
        licence="Apache-2.0",
        description="MobileSAM: SAM with a TinyViT image encoder (Chaoning Zhang et al.)",
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


def names(kind: Kind | None = None) -> list[str]:
    """List the known names, of one kind or of all."""
    return [e.name for e in ENTRIES.values() if kind in (None, e.kind)]


def entry(name: str) -> WeightsEntry:
    """Look up the entry of a name.

    Raises:
        WeightsError: no such name; the message lists the known ones.
    """
    if name not in ENTRIES:
        raise WeightsError(f"no weights are called {name!r}; there are: {', '.join(ENTRIES)}")
    return ENTRIES[name]


def is_offline() -> bool:
    """Tell whether ``MEDLSAM_OFFLINE`` forbids downloads."""
    return os.environ.get("MEDLSAM_OFFLINE", "").strip().lower() not in _OFF


def state(item: WeightsEntry) -> State:
    """Check a file: ``ok``, ``absent``, ``damaged`` (another sha256) or ``unverified`` (no sha256 is known)."""
    if not item.path.is_file():
        return "absent"
    if item.sha256 is None:
        return "unverified"
    return "ok" if sha256_of(item.path) == item.sha256 else "damaged"


def verify(item: WeightsEntry) -> Path:
    """Return the path of a file after checking its sha256 (where one is recorded).

    A file with another sum is left where it is.

    Raises:
        WeightsError: absent or damaged; the message says which file, both sums, and what to do.
    """
    found = state(item)
    if found == "absent":
        raise WeightsError(f"{item.name}: {item.path} does not exist; {_how_to_get(item)}")
    if found == "damaged":
        raise WeightsError(
            f"{item.path} is damaged or is not {item.name}: its sha256 is {sha256_of(item.path)}, "
            f"{item.sha256} is recorded; {_how_to_mend(item)}"
        )
    return item.path


def identify(path: str | Path) -> WeightsEntry | None:
    """Find the entry with the sha256 of a file; None for an unknown file."""
    digest = sha256_of(path)
    return next((e for e in ENTRIES.values() if e.sha256 == digest), None)


def resolve(name_or_path: str | Path, kind: Kind) -> Path:
    """Turn a name or a path into a file that exists, downloading a named one where needed.

    A known name takes precedence over a file of the same name; write ``./NAME`` for the file.

    Args:
        name_or_path: a name of the registry, or a path.
        kind: the kind of weights wanted.

    Raises:
        WeightsError: the name is of the other kind; no such name or file; damaged; no download possible.
    """
    known = ENTRIES.get(str(name_or_path))
    if known is None:
        path = Path(name_or_path).expanduser()
        if path.is_file():
            return path
        what = "is a folder" if path.is_dir() else "is neither a file nor a name that is known"
        raise WeightsError(f"{name_or_path!s} {what}; the {kind}s are: {', '.join(names(kind))}")
    if known.kind != kind:
        raise WeightsError(
            f"{known.name} is a {known.kind}, a {kind} is wanted; the {kind}s are: {', '.join(names(kind))}"
        )
    return verify(known) if known.shipped else download(known.name)


def download(name: str) -> Path:
    """Download a named file into the cache folder, unless it is there, and check its sha256.

    The file appears under its name only once it is complete and its sum is right.

    Raises:
        WeightsError: unknown name; there is nowhere to fetch it from; ``MEDLSAM_OFFLINE``; the connection or
            the sum failed; a file that is there already is damaged (it is not touched).
    """
    item = entry(name)
    if item.shipped or item.path.is_file():
        return verify(item)
    if item.url is None or item.known_sha256 is None or is_offline():
        raise WeightsError(f"{item.name}: {item.path} does not exist; {_how_to_get(item)}")
    import pooch

    downloader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), chunk_size=1 << 20, timeout=60)
    try:
        found = pooch.retrieve(
            item.url,
            known_hash=f"sha256:{item.known_sha256}",
            fname=item.file,
            path=item.path.parent,
            downloader=downloader,
        )
    except (OSError, ValueError) as error:  # requests raises OSErrors; pooch a ValueError for a wrong sum
        raise WeightsError(
            f"{item.name}: the download of {item.url} failed, nothing was kept: {error}; "
            f"try again, or fetch it in another way and put it at {item.path}"
        ) from error
    return Path(found)


def _how_to_get(item: WeightsEntry) -> str:
    if item.shipped:
        return "it ships with medlsam, so the installation is incomplete: install the package again"
    place = f"put the file at {item.path}, or give its path instead of the name"
    if item.url is None:
        return f"get it from {item.source}; then {place}"
    if is_offline():
        return (
            f"MEDLSAM_OFFLINE is set, so it is not downloaded: fetch {item.url} elsewhere "
            f"(sha256 {item.known_sha256}) and {place}"
        )
    return f"run `medlsam weights download {item.name}`"


def _how_to_mend(item: WeightsEntry) -> str:
    if item.shipped:
        return "install the package again (after a new training in a checkout: `python -m medlsam.weights`)"
    return "move it away and it is downloaded again, or give your own file by its path"
