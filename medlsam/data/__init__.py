"""Public data sets, laid out as nnU-Net datasets: fetched where that is allowed, else from the user's own copy.

``sources`` lists them: licence, citation, size, and where each comes from. ``prepare`` does the work: ``archive``
fetches and checks the one file that a source publishes (or ``idc`` the series of an archive of DICOM), ``files`` reads
a folder or a zip without unpacking all of it, the adapter of the source finds its cases and reads one at a time, and
``layout`` writes it (``imagesTr``, ``labelsTr``, ``dataset.json``, ``cases.json``, ``splits.json``; and ``lesions.csv``
with ``lesion_table`` where the source tells single lesions apart). ``deeplesion_table`` reads the table of DeepLesion,
which lesion prompts come from as well.

A further source is one file in ``adapters`` and one entry in ``sources``.
"""

from medlsam.data.prepare_dataset import DataProgress, PrepareResult, prepare
from medlsam.data.source import DataSource
from medlsam.data.sources import SOURCES

__all__ = ["SOURCES", "DataProgress", "DataSource", "PrepareResult", "prepare"]
