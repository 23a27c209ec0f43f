"""Files in and out. Nothing is imported here: whoever needs a file format imports its module.

In: ``cases`` lists the scans that a path means. ``read`` opens each of them, a NIfTI (``nifti``), NRRD or MetaImage
file, a DICOM series (``dicom``, with ``gantry_tilt`` for slices that were taken at an angle) or a zip of one, puts its
values together (``values``), refuses what is no CT scan in HU (``checks``, ``hounsfield``) and returns an ``Image``.
``dicom_header`` reads a few DICOM fields without the pixels.

Labels have modules of their own, which segmenting never imports: ``labels`` returns a ``LabelMap``, ``labelled_scans``
finds the templates of a folder, ``label_names`` and ``slicer_markups`` read the names and the extreme points that lie
beside them.

Out: ``write`` stores an image or label map, whole or not at all.
"""
