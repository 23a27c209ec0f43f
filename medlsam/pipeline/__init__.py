"""One scan: located, then segmented. Here the two halves of the package meet; neither of them knows the other.

In come a scan, templates and one options value; out comes a label map in the scan's own geometry.

1. ``model`` loads the networks and is the object that people hold; each of its calls takes ``InferenceOptions``.
2. ``templates`` reads the user's labelled scans. It is the only door through which a label comes in. In scans with
   clicked points alone, ``drawn_masks`` draws what a label map would have said.
3. ``scan`` opens the scan, and seeds the random numbers that belong to it.
4. The localizer embeds the scan and finds the templates' structures in the embedding (``medlsam.localize``);
   or ``given_boxes`` takes the boxes that somebody drew or moved.
5. ``prompts`` turns each located structure into the boxes, points and mask prompts of a request.
6. ``segment`` has the requests answered (``medlsam.segment``) and assembles the masks into the label map.
7. ``session`` lets a person correct the masks: boxes dragged, points clicked, undone, accepted.
"""
