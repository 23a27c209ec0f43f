"""Many raw scans made one pool for pretraining: found, checked, prepared once, and read by random crops.

``find`` and ``series`` say what may be a scan, ``work`` prepares one, ``run`` and ``cluster`` spread the work,
``settle`` decides what stays, ``shard`` and ``reader`` are the way back to HU.
"""

from medlsam.pool.build import BuildResult, Progress, build_pool
from medlsam.pool.manifest import LeftOut, Reason, Row
from medlsam.pool.packed_scan import PackedScan, write_packed_scan
from medlsam.pool.reader import Pool, is_pool

__all__ = [
    "BuildResult",
    "LeftOut",
    "PackedScan",
    "Pool",
    "Progress",
    "Reason",
    "Row",
    "build_pool",
    "is_pool",
    "write_packed_scan",
]
