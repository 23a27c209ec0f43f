"""UIDs by content, and names that DICOM takes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from medlsam.export.dicom.identity import made_uid, unique_names


def test_a_uid_stands_for_its_content():
    pixels = np.arange(12, dtype=np.uint8)
    uid = made_uid("SEG", "liver", pixels)
    assert uid == made_uid("SEG", "liver", pixels.copy())
    others = [
        ("SEG", "spleen", pixels),
        ("SEG", "liver", pixels + 1),
        ("SEGliver", pixels),
        ("S", "EGliver", pixels),
    ]
    others += [("SEG", "liver", pixels.reshape(3, 4)), ("SEG", "liver", pixels.view(np.int8))]
    assert len({uid, *(made_uid(*content) for content in others)}) == len(others) + 1
    assert uid.startswith("2.25.")
    assert len(uid) <= 64
    # The form of UIDs made from a UUID: its version and variant.
    number = int(uid[5:])
    assert (number >> 76) & 0xF == 4
    assert (number >> 62) & 0b11 == 0b10


@given(st.lists(st.text(max_size=80), max_size=12))
def test_names_are_short_printable_and_unlike(names):
    found = unique_names(names)
    assert len(found) == len(names) == len(set(found))
    for text in found:
        assert 0 < len(text) <= 64
        assert "\\" not in text
        assert text == text.strip()
        assert all(ord(letter) >= 32 for letter in text)


def test_usual_names_stay():
    assert unique_names(["liver", "Kidney (L)", "a\\b", "x" * 70, "x" * 70]) == [
        "liver",
        "Kidney (L)",
        "a b",
        "x" * 64,
        "x" * 62 + " 2",
    ]
