"""The few DICOM fields that tell what a file is, read without its pixels, whether or not it holds an image.

GDCM, through SimpleITK, opens images only, so reports and structure sets could not be told from damage; and it takes
some milliseconds a file, of which collections have millions.
"""

from __future__ import annotations

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
    0x00080032: "acquisition_time",
    0x00080060: "modality",
    0x00180010: "contrast_agent",
    0x00181210: "kernel",
    0x0020000D: "study",
    0x0020000E: "series",
    0x00200012: "acquisition_number",
    0x00200032: "position",
    0x00200037: "orientation",
    0x00200052: "frame_of_reference",
    0x00200100: "temporal_position",
    0x00280008: "frames",
    0x00280010: "rows",
    0x00280011: "columns",
}
_BINARY = {0x00280010, 0x00280011}
_LAST = max(_NAMES)
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_UNDEFINED = 0xFFFFFFFF
_ITEM_END, _SEQUENCE_END = 0xFFFEE00D, 0xFFFEE0DD
_IMPLICIT, _DEFLATED, _BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
_HEAD = 1 << 15


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
        """The ``count`` numbers of a field; None where it does not hold as many."""
        try:
            values = [float(part) for part in self.fields.get(name, "").split("\\")]
        except ValueError:
            return None
        return values if len(values) == count else None


def read_dicom_header(path: Path) -> DicomHeader | None:
    """The fields of a DICOM file up to its pixels; None where the file is cut off or damaged before."""
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
    if data[128:132] != b"DICM":
        raise IndexError("no DICOM file")
    # The first group is always in explicit little endian.
    fields: dict[str, str] = {}
    place = _elements(data, 132, "<", True, fields, 0x0002FFFF)
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
            fields[_NAMES[tag]] = str(struct.unpack_from(f"{order}H", data, start)[0])
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
