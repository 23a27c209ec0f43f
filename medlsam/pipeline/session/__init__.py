"""Correct one scan's masks by hand: drag a box, click inside or outside, undo, accept.

1. ``session`` is the object that people and pages hold: structures, their histories, one lock.
2. ``values`` are what it answers: the state of a structure, what an edit changed.
3. ``mask`` is a mask as a trimmed block of the canonical grid.
4. ``box_edit`` segments a structure in a box that somebody moved, each slice once; ``drag`` says how far a face acts.
5. ``click_edit`` grows or cuts a mask around a click; ``click_network`` asks the segmenter there.
6. ``own_geometry`` writes the masks back into the scan's own voxels, and leaves alone what nobody touched.

A label of the scan is never read.
"""

from medlsam.pipeline.session.session import Session
from medlsam.pipeline.session.values import Edit, StructureState

__all__ = ["Edit", "Session", "StructureState"]
