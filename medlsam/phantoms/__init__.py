"""Seeded procedural phantoms: labelled CT-like volumes of one continuous body."""

from medlsam.phantom.generate import Phantom, phantom
from medlsam.phantom.layout import NAMES, REGIONS

__all__ = ["NAMES", "REGIONS", "Phantom", "phantom"]
