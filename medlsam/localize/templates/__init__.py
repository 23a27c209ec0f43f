"""The template set: what a few labelled scans say of the structures to look for. It holds no image.

``landmarks.py`` chooses the places of a structure that are read off an embedding: six extreme points, a lattice
around the structure and points on its faces. ``shape.py`` keeps what a mask says beyond its box: the mean mask and
the box of each slice, in fractions of the box; ``outline.py`` estimates these boxes from six points where there is
no mask. ``template_set.py`` holds the result for all structures and
templates, ``template_file.py`` reads and writes it as one ``.medlsam`` file. ``issues.py`` describes, in words for
the user, a template that does not fit the others.

``medlsam.localize.build_templates`` fills a set; ``medlsam.localize.confidence`` calibrates it.
"""
