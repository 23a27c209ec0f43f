"""How results and sessions show themselves in a notebook.

1. ``cells`` makes a table, and pictures below it: HTML that every notebook and every saved copy of it shows.
2. ``shown`` is what a widget shows: the scan on a canonical grid, the structures on it, and their colours.
3. ``panel`` is what the widgets have in common (table, window of HU), the one file that imports ipywidgets. ``slider``
   goes through axial slices. ``niivue`` is a viewer in the browser, the one file that imports ipyniivue.
4. ``show`` takes the best of them that is installed.
"""

from medlsam.export.notebook.cells import localization_html, segmentation_html, session_html
from medlsam.export.notebook.show import (
    follow_session,
    mimebundle,
    show_localization,
    show_segmentation,
    show_session,
)

__all__ = [
    "follow_session",
    "localization_html",
    "mimebundle",
    "segmentation_html",
    "session_html",
    "show_localization",
    "show_segmentation",
    "show_session",
]
