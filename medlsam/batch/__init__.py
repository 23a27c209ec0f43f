"""The same over many scans: resumable, one failing scan does not stop the others, nothing half-written."""

from medlsam.batch.api import localize_folder, segment_folder
from medlsam.batch.summary import BatchResult, Progress

__all__ = ["BatchResult", "Progress", "localize_folder", "segment_folder"]
