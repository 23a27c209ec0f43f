"""From templates and one embedded scan to a candidate box for each structure.

``options.py`` holds the search's options and constants, each with its reason. ``alignment.py`` fits each template's
whole scan to this one by the anchors that the template keeps; where a network gives no features for that, ``votes.py``
answers: each cell of the body predicts its offset to a landmark (equation 2 of the paper), and the robust centre of
these votes is the landmark's place. ``first_answer.py`` takes the one or the other. ``consensus.py`` refines: each
template's features are matched in windows around these places, and a scale and shift fitted to all landmarks of a
template keeps single wrong matches from moving the box.
The result is a ``Candidate`` (``candidate.py``): the landmarks as each template puts them, and the box on which the
templates agree. ``boundary_probe.py`` scores the surroundings of that box voxel by voxel with a linear probe
trained on the templates' masks; ``probe_trust.py`` decides how far each face of the box follows it.
"""
