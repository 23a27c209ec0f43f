"""What a process has to be to work for a run that another one started, and the words where it is not."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from medlsam._version import __version__
from medlsam.errors import WorkerError


def here() -> str:
    """This process, as ``HOST-PID``."""
    return f"{socket.gethostname()}-{os.getpid()}"


def check_version(version: str) -> None:
    """Refuse another version of medlsam: it may give other results.

    Raises:
        WorkerError: it is another one than here.
    """
    if version != __version__:
        raise WorkerError(
            f"{here()} has medlsam {__version__}, the run was started by {version}; "
            "install the same version for all workers"
        )


def not_seen(path: Path, what: str, why: str = "") -> WorkerError:
    """The error of a worker that does not see a path.

    Args:
        path: what it does not see.
        what: all that it has to see.
        why: what the system says of it.
    """
    return WorkerError(
        f"the worker on {socket.gethostname()} does not see {path}{why and f' ({why})'}; "
        f"all workers must see {what} under the same paths"
    )
