"""The segmenter that ships, read once."""

from __future__ import annotations

import pytest

from medlsam.segment.load import load_segmenter
from medlsam.segment.protocol import Segmenter


@pytest.fixture(scope="package")
def segmenter() -> Segmenter:
    return load_segmenter("sam-tiny", "cpu")
