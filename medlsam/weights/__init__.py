"""Files of weights: which there are, where each comes from, and whether a file is what it should be.

A name or a path comes in, a checked file or its tensors come out. ``entries`` lists the named weights (those
that ship lie in this folder, beside their model cards and ``SHA256SUMS``), ``registry`` looks one up and checks its
sha256, and ``fetch`` downloads it where needed. ``store`` reads and writes this project's own files: safetensors with
the network's configuration inside. ``checkpoint`` reads the files of others (torch, Lightning, safetensors) without
running code from them, and names what does not fit a network. Which model a checkpoint is of, the rooms of the
networks decide: ``localize`` and ``segment.sam.checkpoint``.

The first three import no torch, so that ``medlsam weights list`` is quick. ``python -m medlsam.weights`` writes
``SHA256SUMS`` anew after a shipped file changed.
"""

from medlsam.runtime.atomic_files import sha256_of
from medlsam.weights.entries import ENTRIES, Kind, WeightsEntry, cache_dir
from medlsam.weights.fetch import download, resolve
from medlsam.weights.registry import State, entry, identify, names, state, verify

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
