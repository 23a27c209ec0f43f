"""One engine for many items: ``batch`` segments scans with it, ``pool`` ingests them.

A job comes in (a picklable callable that says how to start in a process) with a dictionary of named items; each name
goes out with its result, in whatever order they end. ``engine`` chooses where the work is done: in this process, or by
``dask``, the only file that imports Dask: in a local cluster of ``--jobs`` processes, or by the workers of
``--scheduler``.

For workers ``shared_folder`` makes a hidden folder in the output. ``worker`` writes the pickled job there once, loads
it once in every process, checks that this process sees the same files, and works on the items that it is sent.
``attempts`` keeps empty marker files in the folder for items that are begun but not ended, so that an item that kills
its worker twice is given up while the others finish.
"""
