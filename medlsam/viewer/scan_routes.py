"""What every page of scans asks for: where a scan lies, and pictures of its slices."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from medlsam.viewer.bodies import number
from medlsam.viewer.pictures import png, slice_of, view_of
from medlsam.volume import Image
from medlsam.windows import WINDOWS

#: Windows that have a button, in this order.
BUTTONS = ("soft-tissue", "lung", "bone", "liver", "mediastinum")
#: Pictures stay in the browser as long as the page: a scan does not change under its address.
_KEEP = {"Cache-Control": "private, max-age=3600"}


class ScanPictures:
    """Pictures of the slices of numbered scans.

    Attributes:
        open: number of a scan to the scan on its canonical grid, HU.
    """

    def __init__(self, open_: Callable[[int], Image]) -> None:
        self.open = open_

    def routes(self) -> list[Route]:
        """The routes of the pictures."""
        return [Route("/api/case/{case:int}/slice/{plane}/{index:int}", self.picture)]

    def picture(self, request: Request) -> Response:
        """Give a slice as a picture, in a window of HU."""
        view = view_of(request.path_params["plane"])
        low, high = (number(request.query_params.get(name), name) for name in ("low", "high"))
        image = self.open(request.path_params["case"])
        plane = slice_of(image.array, view, request.path_params["index"])
        return Response(png(plane, low, high), media_type="image/png", headers=_KEEP)


def windows() -> list[dict[str, object]]:
    """Describe the windows that have a button."""
    return [{"name": name, "low": WINDOWS[name].low, "high": WINDOWS[name].high} for name in BUTTONS]
