"""Work over a cluster's processes, whatever the work is: ``batch`` and ``pool`` send theirs through here.

``client`` speaks to the scheduler, ``begun`` and ``shared`` are what workers leave and find in a folder that all of
them see, ``worker`` is what each of them has to be. Only ``client`` needs Dask.
"""

from __future__ import annotations

from medlsam.errors import UsageError

#: In place of an address: a cluster that is started with its workers on this machine.
LOCAL = "local"


def check_processes(jobs: int, scheduler: str | None, least: int = 1) -> None:
    """Refuse a wrong number of processes, before any work.

    Args:
        jobs: processes of this machine.
        scheduler: None; ``local``; or a Dask scheduler's address.
        least: the smallest number of processes.

    Raises:
        UsageError: a number below ``least``, no address, or jobs for a cluster that has its own.
    """
    number: object = jobs
    if isinstance(number, bool) or not isinstance(number, int) or number < least:
        raise UsageError(f"jobs: a whole number, {least} or more, is needed, got {jobs!r}")
    if scheduler in (None, LOCAL):
        return
    if not str(scheduler).strip() or ":" not in str(scheduler):
        raise UsageError(
            f"scheduler {scheduler!r}: give the address of a Dask scheduler (tcp://host:8786), "
            f"or {LOCAL} for workers on this machine"
        )
    if jobs != 1:
        raise UsageError(
            f"jobs {jobs} with scheduler {scheduler}: that cluster has its own workers; "
            f"leave jobs out, or give --scheduler {LOCAL}"
        )
