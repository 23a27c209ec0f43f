"""Files in and out. Nothing is imported here: whoever needs a file format imports its module.

In: ``cases`` lists the scans that a path means (``folders`` walks through it and knows what names say) and ``read``
opens each of them: a NIfTI file (``nifti``, which says which of its two transforms counts), an NRRD or MetaImage file,
a DICOM series (``dicom``) or a zip of one (``archives``). It puts the values together (``values``), refuses what is no
CT scan in HU (``checks``, ``hounsfield``), makes air of what a file marks as lying outside of the field of view
(``volume.field_of_view``), and returns an ``Image``.

Labels have modules of their own, which segmenting never imports: ``labels`` returns a ``LabelMap``, ``labelled_scans``
finds the templates of a folder, ``label_names`` and ``slicer_markups`` read the names and the extreme points that lie
beside them.

Out: ``write`` stores an image or label map, whole or not at all.
"""
