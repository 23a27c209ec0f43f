"""A hidden folder in the output folder, for what all workers of a run share."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from medlsam.errors import UsageError

#: How its name begins; what a killed run left of them may be removed once it is old: a run may be using it.
PREFIX = ".run-"


@contextmanager
def shared_folder(output: Path, clear: Callable[[], None] | None = None) -> Iterator[Path]:
    """Have the folder while the block runs; the output folder goes with it where it was made for it and stayed empty.

    Args:
        output: the output folder; made if it is not there.
        clear: called at the end, when nothing can begin any more.

    Yields:
        The folder's absolute path.

    Raises:
        UsageError: the output folder cannot be written to.
    """
    path = output.absolute()
    new = not path.exists()
    place = path / f"{PREFIX}{uuid.uuid4().hex[:12]}"
    # One block, since Ctrl-C may come between the folder's making and the next line.
    try:
        try:
            place.mkdir(parents=True)
        except OSError as error:
            raise UsageError(f"{path}: cannot be used for the output ({error.strerror or error})") from error
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
        if clear is not None:
            clear()
        # Where a worker was refused nothing has been written.
        if new and path.is_dir() and not any(path.iterdir()):
            path.rmdir()
