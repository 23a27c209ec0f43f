"""DICOM in: what the files of a folder are, which of them make a CT scan, and its voxels on a regular grid."""
