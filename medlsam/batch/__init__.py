"""One call over many scans: resumable, one failing scan does not stop the others, nothing is left half-written.

``api`` holds the two functions that people call. ``task`` says what a run does with a scan, and takes the fingerprint
of everything that a result depends on. ``plan`` says what a run would do and why, which ``dry_run`` tells. ``loop``
compares fingerprints with the output folder, skips finished scans, and gives the others to ``medlsam.parallel``,
which works on them here, in several processes, or on a cluster. ``worker`` is the job that travels there: it loads
the networks once in a process and reads one scan while another one is computed. ``one_scan`` reads, segments and
writes one; what fails is a record, not an exception. ``given_boxes`` finds the boxes that a run segments in instead
of locating. ``output`` moves a scan's files to their place when all are complete, the marker ``.done.json`` last.
``summary`` reports progress and writes ``run.json``, ``statistics.csv`` and ``statistics.json``, also after Ctrl-C.
"""

from medlsam.batch.api import localize_folder, segment_folder
from medlsam.batch.summary import BatchResult, Progress

__all__ = ["BatchResult", "Progress", "localize_folder", "segment_folder"]
