"""How work runs on a machine: devices, precision, threads, timing, and files that are whole or absent.

Every other room may use these helpers; they know nothing of scans and networks of this project.

``device`` turns ``auto``, ``cpu`` or ``cuda:1`` into a torch device and decides the precision of forward passes; no
other file does. ``blas_threads`` keeps numpy's matrix products on one thread, so that results do not depend on the
number of cores. ``fold_batchnorm`` speeds up a network for inference. ``stopwatch`` adds up the seconds of each stage.
``atomic_files`` writes a file beside its target and renames it, so that a killed run leaves no half file, and computes
the sha256 by which weights, scans and shards are recognised. ``download`` fetches a file that is whole and right or
absent; ``http_transfer`` brings its bytes, however often the connection breaks.
"""
