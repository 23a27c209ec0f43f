"""The one-file HTML report of an output folder: opens offline, loads nothing, and no name in it is ever code.

``write`` reads what ``segment`` wrote, and nothing else, so the report can be written again at any time. ``rows`` makes
a line of the table of every structure in every scan, ``pictures`` takes the thumbnails that were made with the masks,
and draws those that are not there. ``page.html`` says how all this is laid out, ``page.css`` how it looks, ``page.js``
sorts and filters the table; without it the table reads as well, worst first.
"""

from medlsam.export.report.write import write_report

__all__ = ["write_report"]
