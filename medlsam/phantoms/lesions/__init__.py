"""Lesions in phantoms, with the truth about them: one scan, or several visits of one person.

``lesion_phantom`` makes one scan and ``lesion_visits`` several of the same person. ``kinds`` says where each kind grows
and how it looks, ``shape`` has the shapes and their true diameters and volume, ``visit`` is the person on another day.
``place`` looks for room in the organ at all visits, and ``generate`` paints what it finds before the scan is made.
"""

from medlsam.phantoms.lesions.generate import lesion_phantom, lesion_visits
from medlsam.phantoms.lesions.kinds import KINDS
from medlsam.phantoms.lesions.lesion import LesionPhantom, PhantomLesion
from medlsam.phantoms.lesions.shape import LesionShape

__all__ = ["KINDS", "LesionPhantom", "LesionShape", "PhantomLesion", "lesion_phantom", "lesion_visits"]
