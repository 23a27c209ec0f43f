"""Many raw scans made one pool for pretraining: found, checked, prepared once, and read by random crops.

Raw collections come in as they are downloaded; a folder of packed scans with a manifest goes out. ``build`` is the
call. ``find`` looks for candidates, by headers only; ``series`` sorts DICOM slices into series. ``ingest`` reads one
candidate, checks it, has it resampled and cropped by ``preprocess``, estimates its regions (``body_region``), looks up
its licence (``licence``) and writes one file (``packed_scan``); ``medlsam.parallel`` does that for many candidates at
a time. ``record`` remembers what became of each, so that an interrupted build goes on. ``deduplicate`` leaves out what
the pool holds twice, and writes the files of ``manifest``. ``reader`` is the way back: ``Pool`` gives random crops in
HU.
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
