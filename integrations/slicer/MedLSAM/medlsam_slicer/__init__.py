"""What the module needs that is not Slicer's; in a folder, since Slicer takes a file beside a module for a module."""
