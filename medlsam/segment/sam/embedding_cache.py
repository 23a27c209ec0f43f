"""Embeddings of slices, kept: in memory within a run, and in a folder across runs where one is given.

A whole-slice model spends nearly all of its time encoding, and the embedding of a slice does not depend on what
is looked for in it. So a second set of templates over the same scans costs only decoding. A key is made of the
pixels themselves and of the model, so that nothing that was renamed, resampled or trained anew is mistaken for
what it was.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from medlsam.errors import UsageError
from medlsam.runtime.atomic_files import atomic_path

#: A ViT-B's embedding has 4 MB: this is a scan of some 250 slices.
MEMORY_BYTES = 1 << 30
DISK_BYTES = 10 << 30
# What eviction makes room for beyond the limit, so that it does not look at the folder after every slice.
_SLACK = 0.1
# A temporary file of that age was left by somebody who was killed.
_STALE_SECONDS = 3600.0
_NAME = re.compile(r"(\.tmp-.*|[0-9a-f]{64})\.safetensors")
_TENSOR, _SIGNATURE = "embedding", "signature"
_log = logging.getLogger(__name__)


class EmbeddingCache:
    """Least recently used embeddings go first, in memory and on disk.

    With a folder, embeddings are rounded to half precision before they are used for the first time: an answer
    must not depend on whether its embedding was made or read.

    Attributes:
        made: embeddings that had to be made.
        found: embeddings that were there.
    """

    def __init__(
        self, folder: str | Path | None = None, disk_bytes: int = DISK_BYTES, memory_bytes: int = MEMORY_BYTES
    ) -> None:
        """Open a cache.

        Args:
            folder: keeps embeddings across runs; made where it does not exist. None: memory only.
            disk_bytes: the most that the folder's embeddings take up.
            memory_bytes: the most that those in memory take up; 0 keeps none.

        Raises:
            UsageError: the folder is a file, or cannot be made.
        """
        self.folder = None if folder is None else Path(folder)
        self.disk_bytes, self.memory_bytes = disk_bytes, memory_bytes
        self.made = self.found = 0
        self._memory: OrderedDict[str, Tensor] = OrderedDict()
        self._held = 0
        self._written: int | None = None
        if self.folder is not None:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UsageError(
                    f"{self.folder}: cannot hold embeddings ({error.strerror or error}); give a folder that "
                    "can be written"
                ) from error

    def get(self, key: str, make: Callable[[], Tensor]) -> Tensor:
        """The embedding of a key, made where there is none.

        Args:
            key: of ``embedding_key``.
            make: encodes the slice; not called where the embedding is known.

        Returns:
            A tensor of float32, on the device that ``make`` gives or, if read from the folder, on the CPU.
        """
        kept = self._memory.get(key)
        if kept is None:
            kept = self._read(key)
        else:
            self._memory.move_to_end(key)
        if kept is not None:
            self.found += 1
        else:
            self.made += 1
            kept = make()
            if self.folder is not None:
                kept = kept.half()
                self._write(key, kept)
                kept = kept.float()
        self._keep(key, kept)
        return kept

    def _keep(self, key: str, embedding: Tensor) -> None:
        """Put an embedding into memory, and the oldest out where there are too many."""
        if key in self._memory:
            return
        self._memory[key] = embedding
        self._held += embedding.nbytes
        while self._held > self.memory_bytes:
            _, oldest = self._memory.popitem(last=False)
            self._held -= oldest.nbytes

    def _read(self, key: str) -> Tensor | None:
        """An embedding from the folder; one that is damaged is removed and counts as not there."""
        if self.folder is None:
            return None
        path = self.folder / f"{key}.safetensors"
        try:
            if not path.is_file():
                return None
            with safe_open(path, framework="pt") as file:
                if (file.metadata() or {}).get(_SIGNATURE) != key:
                    raise SafetensorError("holds another embedding than its name says")
                embedding: Tensor = file.get_tensor(_TENSOR)
            os.utime(path)  # used just now: eviction begins with what was not
        except FileNotFoundError:  # another process made room
            return None
        except (SafetensorError, OSError) as error:
            _log.warning("%s: damaged, made anew: %s", path, error)
            path.unlink(missing_ok=True)
            return None
        return embedding.float()

    def _write(self, key: str, half: Tensor) -> None:
        """Store an embedding whole or not at all; a full disk costs time, not the answer."""
        assert self.folder is not None
        try:
            with atomic_path(self.folder / f"{key}.safetensors") as temporary:
                save_file({_TENSOR: half.cpu().contiguous()}, temporary, metadata={_SIGNATURE: key})
        except (OSError, SafetensorError) as error:
            _log.warning("%s: an embedding could not be kept: %s", self.folder, error)
            return
        if self._written is not None:
            self._written += half.nbytes
        if self._written is None or self._written > self.disk_bytes:
            self._written = self._make_room()

    def _make_room(self) -> int:
        """Remove the embeddings used longest ago until the rest fits; bytes that stay."""
        assert self.folder is not None
        ours = []
        for path in self.folder.iterdir():
            if _NAME.fullmatch(path.name):
                try:
                    state = path.stat()
                except FileNotFoundError:  # another process was faster
                    continue
                ours.append((state.st_mtime, state.st_size, path))
        left = [entry for entry in ours if not entry[2].name.startswith(".")]
        for age, _, path in ours:
            if path.name.startswith(".") and time.time() - age > _STALE_SECONDS:
                path.unlink(missing_ok=True)
        total = sum(size for _, size, _ in left)
        if total <= self.disk_bytes:
            return total
        for _, size, path in sorted(left):
            if total <= self.disk_bytes * (1 - _SLACK):
                break
            path.unlink(missing_ok=True)
            total -= size
        return total


def embedding_key(pixels_hu: NDArray[np.generic], model: str, preprocessing: object) -> str:
    """What an embedding depends on, as 64 hex digits.

    Args:
        pixels_hu: (H, W) what the model is shown.
        model: sha256 of its weights.
        preprocessing: the registry entry, in the window that the slice is shown in; its ``repr`` counts.
    """
    digest = hashlib.sha256(f"{model}\n{preprocessing!r}\n{pixels_hu.shape}\n{pixels_hu.dtype}\n".encode())
    digest.update(np.ascontiguousarray(pixels_hu).tobytes())
    return digest.hexdigest()
