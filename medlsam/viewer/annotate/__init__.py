"""Templates made by clicking: the work itself, without server and page.

``project.py`` is what a page calls: one ``AnnotationProject`` for a templates folder; ``folder.py`` is the part of it
that needs no network. The folder is the state: ``scan_file.py`` keeps a scan's answers as Slicer markups,
``structures.py`` their names as ``labels.json``, and ``scan_image.py`` brings the scan itself there. ``marks.py`` is
one structure's answer in one scan, ``history.py`` what can be undone, ``scans.py`` the scans of a session.
``learning.py`` keeps their embeddings and the templates made of what is complete; ``proposals.py`` is what these
locate, and ``agreement.py`` says which scan does not fit.
"""
