"""Weights by name: what there is, where it comes from, and whether a file is what it should be.

``registry`` knows the names (no torch); ``store`` reads and writes our own files (torch).
"""

from medlsam.weights.registry import (
    ENTRIES,
    Kind,
    State,
    WeightsEntry,
    cache_dir,
    download,
    entry,
    identify,
    names,
    resolve,
    state,
    verify,
)
from medlsam.weights.sums import sha256_of

__all__ = [
    "ENTRIES",
    "Kind",
    "State",
    "WeightsEntry",
    "cache_dir",
    "download",
    "entry",
    "identify",
    "names",
    "resolve",
    "sha256_of",
    "state",
    "verify",
]
