"""The shards that a process keeps open, the most recently used ones.

Opening a shard takes a tenth of a millisecond, and its pages have to be mapped again; a small pool is opened once. But
every open shard holds a file descriptor (Python's ``mmap`` keeps a duplicate of the one it is given), and a process has
1,024 of them on many systems, for its pipes and shared tensors as well. So there is a bound, far below that.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

from medlsam.pool.packed_scan import Shard

#: Of each loader process.
MOST_OPEN = 64


class OpenShards:
    """Opens shards, and keeps the last ones that were asked for.

    A file that is replaced while it is open is read as it was, so that what is drawn from it does not change halfway.

    Args:
        most: so many are kept.
    """

    def __init__(self, most: int = MOST_OPEN) -> None:
        self.most = most
        self._shards: OrderedDict[Path, Shard] = OrderedDict()

    def __len__(self) -> int:
        return len(self._shards)

    def __getitem__(self, path: Path) -> Shard:
        """A shard, open.

        Raises:
            VolumeError: see ``Shard``.
        """
        found = self._shards.pop(path, None) or Shard(path)
        self._shards[path] = found
        if len(self._shards) > self.most:
            # Nothing else refers to it, since crops are copies: its pages and its descriptor go with it.
            self._shards.popitem(last=False)
        return found

    def __getstate__(self) -> dict[str, Any]:
        # A map of a file cannot be sent to another process, which opens its own.
        return {"most": self.most, "_shards": OrderedDict()}
