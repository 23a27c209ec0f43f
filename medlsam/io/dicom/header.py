"""The few DICOM fields that tell what a file is, read without its pixels, whether or not it holds an image.

GDCM, through SimpleITK, opens images only, so reports and structure sets could not be told from damage; and it takes
some milliseconds a file, of which collections have millions. pydicom takes several times as long as what is here.
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

#: Tags that are kept, as group << 16 | element.
_NAMES = {
    0x00020010: "transfer_syntax",
    0x00080008: "image_type",
    0x00080016: "sop_class",
    0x00080018: "sop_instance",
    0x00080020: "study_date",
    0x00080032: "acquisition_time",
    0x00080060: "modality",
    0x0008103E: "series_description",
    0x00100020: "patient_id",
    0x00180010: "contrast_agent",
    0x00181164: "imager_pixel_spacing",
    0x00181210: "kernel",
    0x0020000D: "study",
    0x0020000E: "series",
    0x00200011: "series_number",
    0x00200012: "acquisition_number",
    0x00200032: "position",
    0x00200037: "orientation",
    0x00200052: "frame_of_reference",
    0x00200100: "temporal_position",
    0x00280002: "samples",
    0x00280004: "photometric",
    0x00280008: "frames",
    0x00280010: "rows",
    0x00280011: "columns",
    0x00280030: "pixel_spacing",
    0x00280103: "pixel_representation",
    0x00280120: "padding",
    0x00281052: "intercept",
    0x00281053: "slope",
}
#: Two bytes each; the padding is signed where the pixels are.
_BINARY = {0x00280002, 0x00280010, 0x00280011, 0x00280103, 0x00280120}
_LAST = max(_NAMES)
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_UNDEFINED = 0xFFFFFFFF
_ITEM_END, _SEQUENCE_END = 0xFFFEE00D, 0xFFFEE0DD
_IMPLICIT, _EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
_DEFLATED, _BIG = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
_HEAD = 1 << 15
#: CT, enhanced CT, and legacy CT made enhanced.
CT_CLASSES = tuple(f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("2", "2.1", "2.2"))
#: Of a file without preamble: the length of group 2, that of group 8, its character set, image type or SOP class.
_FIRST_ELEMENTS = {
    struct.pack("<HH", group, element)
    for group, element in ((2, 0), (2, 1), (2, 2), (8, 0), (8, 5), (8, 8), (8, 0x16))
}


@dataclass(frozen=True)
class DicomHeader:
    """What a DICOM file says of itself; fields that it lacks are empty.

    Attributes:
        path: the file.
        fields: names as in ``_NAMES`` to text; numbers of several values are parted by a backslash.
    """

    path: Path
    fields: dict[str, str]

    def __getattr__(self, name: str) -> str:
        if name in _NAMES.values():
            return self.fields.get(name, "")
        raise AttributeError(name)

    def numbers(self, name: str, count: int) -> list[float] | None:
        """The ``count`` numbers of a field; None where it does not hold as many, or not finite ones."""
        try:
            values = [float(part) for part in self.fields.get(name, "").split("\\")]
        except ValueError:
            return None
        return values if len(values) == count and all(map(math.isfinite, values)) else None


def is_dicom(path: Path) -> bool:
    """Whether a file starts as DICOM files do, also those of old that lack the preamble.

    An index file, DICOMDIR, does not count.

    Raises:
        OSError: the file cannot be read.
    """
    if not path.is_file() or path.name.upper() == "DICOMDIR" or path.name.startswith("."):
        return False
    with path.open("rb") as file:
        start = file.read(132)
    return start[128:] == b"DICM" or _starts_bare(start)


def _starts_bare(data: bytes) -> bool:
    """Whether the first element is one of the groups that a file without preamble begins with."""
    if len(data) < 12 or data[:4] not in _FIRST_ELEMENTS:
        return False
    return data[4:6] in (b"UL", b"UI", b"CS", b"OB") or struct.unpack_from("<I", data, 4)[0] <= 64


def read_dicom_header(path: Path) -> DicomHeader | None:
    """The fields of a DICOM file up to its pixels; None where the file is cut off or damaged before."""
    header = _read(path)
    # Cut off between two elements: no CT image goes without its size.
    if header is not None and header.sop_class in CT_CLASSES and not header.rows:
        return None
    return header


def _read(path: Path) -> DicomHeader | None:
    try:
        with path.open("rb") as file:
            data = file.read(_HEAD)
            try:
                return DicomHeader(path, _parse(data, len(data) < _HEAD))
            except (struct.error, IndexError):
                # A private field may be larger than all that was read.
                return DicomHeader(path, _parse(data + file.read(), True))
    except (OSError, struct.error, IndexError, zlib.error):
        return None


def _parse(data: bytes, whole: bool) -> dict[str, str]:
    fields: dict[str, str] = {}
    if data[128:132] == b"DICM":
        # The first group is always in explicit little endian.
        place = _elements(data, 132, "<", True, fields, 0x0002FFFF)
    elif _starts_bare(data):
        place = _elements(data, 0, "<", True, fields, 0x0002FFFF) if data[:2] == b"\x02\0" else 0
        if not fields.get("transfer_syntax"):
            explicit = data[place + 4 : place + 6].isalpha()
            fields["transfer_syntax"] = _EXPLICIT if explicit else _IMPLICIT
    else:
        raise IndexError("no DICOM file")
    syntax = fields.get("transfer_syntax", "")
    if syntax == _DEFLATED:
        data, place = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[place:]), 0
    order = ">" if syntax == _BIG else "<"
    if _elements(data, place, order, syntax != _IMPLICIT, fields, _LAST) == len(data) and not whole:
        raise IndexError("goes on")
    return fields


def _elements(data: bytes, place: int, order: str, explicit: bool, fields: dict[str, str], last: int) -> int:
    """Read elements up to tag ``last`` into ``fields``; the place of the first one beyond it."""
    while place < len(data):
        tag, length, start = _element(data, place, order, explicit)
        if tag > last:
            return place
        if length == _UNDEFINED:
            place = _beyond_sequence(data, start, order, explicit)
            continue
        place = start + length
        if place > len(data):
            raise IndexError("cut off")
        if tag in _BINARY and length == 2:
            signed = tag == 0x00280120 and fields.get("pixel_representation") == "1"
            kind = "h" if signed else "H"
            fields[_NAMES[tag]] = str(struct.unpack_from(f"{order}{kind}", data, start)[0])
        elif tag in _NAMES:
            fields[_NAMES[tag]] = data[start:place].decode("latin-1").strip("\0 ")
    return place


def _element(data: bytes, place: int, order: str, explicit: bool) -> tuple[int, int, int]:
    """Tag, length and first byte of the value of the element at ``place``."""
    group, element = struct.unpack_from(f"{order}HH", data, place)
    tag = group << 16 | element
    if not explicit or group == 0xFFFE:
        return tag, struct.unpack_from(f"{order}I", data, place + 4)[0], place + 8
    if data[place + 4 : place + 6] in _LONG:
        return tag, struct.unpack_from(f"{order}I", data, place + 8)[0], place + 12
    return tag, struct.unpack_from(f"{order}H", data, place + 6)[0], place + 8


def _beyond_sequence(data: bytes, place: int, order: str, explicit: bool) -> int:
    """The place after a sequence of undefined length, whose items may hold such sequences themselves."""
    while True:
        tag, length, place = _element(data, place, order, explicit)
        if tag in (_SEQUENCE_END, _ITEM_END):
            return place
        # An item of undefined length holds elements up to its own end, as a sequence holds items.
        place = _beyond_sequence(data, place, order, explicit) if length == _UNDEFINED else place + length
        if place > len(data):
            raise IndexError("cut off")
