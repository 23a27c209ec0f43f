"""Pictures of lesions: ``diameters`` with the axes of RECIST, ``masks`` in three planes, in the right ``window``."""
