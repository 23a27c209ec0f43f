"""Small pictures of what was found, made while scan and masks are in memory, and shown by the report.

``raster`` paints on arrays of pixels, ``three_planes`` draws a structure's slices, ``projections`` the located boxes,
``file`` keeps the pictures of a scan in one file of its folder. numpy and Pillow only: a structure takes milliseconds,
and matplotlib is not imported where scans are segmented.
"""
