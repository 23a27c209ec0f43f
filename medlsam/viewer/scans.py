"""Scans that are open in the page: read once, the ones looked at last kept in memory up to a limit."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
#: Bytes of voxels that are kept: one large scan (512 x 512 x 600) with its label map, or some of the usual size.
LIMIT = 600_000_000


class Shelf(Generic[K, V]):
    """Values that are costly to make and large, each made once while it is kept.

    Two threads that want the same value wait for one making of it; other values do not wait.

    Attributes:
        limit: bytes that are kept; the value used last is always kept.
    """

    def __init__(self, make: Callable[[K], V], size: Callable[[V], int], limit: int = LIMIT) -> None:
        self._make, self._size, self.limit = make, size, limit
        self._kept: OrderedDict[K, V] = OrderedDict()
        self._lock, self._making = Lock(), {}  # type: ignore[var-annotated]

    def get(self, key: K) -> V:
        """Take a value, or make it; what making raises is raised here, and the next call tries again."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            making = self._making.setdefault(key, Lock())
        with making:
            with self._lock:
                if key in self._kept:
                    return self._kept[key]
            value = self._make(key)
            with self._lock:
                self._kept[key] = value
                self._making.pop(key, None)
                while len(self._kept) > 1 and sum(map(self._size, self._kept.values())) > self.limit:
                    self._kept.popitem(last=False)
            return value

    def forget(self, key: K) -> None:
        """Drop a value, since what it was made from has changed."""
        with self._lock:
            self._kept.pop(key, None)


def bytes_of(*arrays: NDArray[np.generic] | None) -> int:
    """Count the bytes of some arrays."""
    return sum(array.nbytes for array in arrays if array is not None)
