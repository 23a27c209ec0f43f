"""Seeded procedural phantoms: labelled CT-like volumes of one continuous body."""

from medlsam.phantoms.generate import Phantom, phantom
from medlsam.phantoms.layout import NAMES, REGIONS

__all__ = ["NAMES", "REGIONS", "Phantom", "phantom"]
