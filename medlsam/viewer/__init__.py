"""A local page in the browser: look through results, correct them, make templates by clicking.

``guard`` decides which requests are answered at all, ``serve`` binds to the loopback address, ``scans`` and
``pictures`` make slices into pictures, ``outlines`` masks into lines. Nothing below this room knows of it.
"""
