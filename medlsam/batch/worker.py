"""What a cluster's worker holds and does: one run's models, loaded once, and scans that it is given."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from medlsam.batch.job import Job, died_on
from medlsam.batch.one_scan import Item, Outcome, failed, one_scan
from medlsam.batch.read_ahead import read_scan
from medlsam.errors import WorkerError
from medlsam.parallel.attempts import TRIES, Begun, Room
from medlsam.parallel.worker import not_seen

#: Scans that a worker of several threads holds at most: one is read while another one is computed.
SCANS_HELD = 2


@dataclass(frozen=True)
class JobFile:
    """Where a packed ``Job`` lies, in the folder that all workers share. Small: it goes with each scan.

    Attributes:
        path: the file; beside it each scan leaves word when a worker begins with it.
        sha256: of its content, so that nothing else is unpacked.
    """

    path: Path
    sha256: str

    @classmethod
    def write(cls, folder: Path, packed: bytes) -> JobFile:
        """Write it into a folder of its own."""
        (folder / "job").write_bytes(packed)
        return cls(folder / "job", hashlib.sha256(packed).hexdigest())

    def read(self) -> Job:
        """Unpack it.

        Raises:
            WorkerError: it is not there for this process, or is not what was written.
        """
        try:
            packed = self.path.read_bytes()
        except OSError as error:
            what = "the output folder, the scans and the weights"
            raise not_seen(self.path, what, error.strerror or str(error)) from error
        if hashlib.sha256(packed).hexdigest() != self.sha256:
            raise WorkerError(
                f"the worker on {socket.gethostname()} reads another {self.path} than was written; "
                "all workers must share the output folder"
            )
        return Job.unpacked(packed)

    @property
    def begun(self) -> Begun:
        """Which scans workers began with."""
        return Begun(self.path.parent)


class Station:
    """A run's models in this process, and room for two scans, of which one is computed."""

    def __init__(self, file: JobFile) -> None:
        self.file = file
        self.run, self.folder = file.read().start()
        self._network = threading.Lock()
        self._room = Room(SCANS_HELD)

    def work(self, item: Item) -> Outcome:
        """Work on a scan, unless that killed a worker too often."""
        name = item.case.name
        times = self.file.begun.times(name)
        if times >= TRIES:
            return failed(self.folder, item, died_on(name, ""))
        with self._room.place(alone=times > 0), self.file.begun.at(name):
            return one_scan(self.run, self.folder, item, partial(read_scan, item.case.path), self._network)


_stations: dict[str, Station] = {}
_opening = threading.Lock()


def station(file: JobFile) -> Station:
    """This process's station for a run; that of another run goes, and its models with it."""
    with _opening:
        if file.sha256 not in _stations or _stations[file.sha256].file != file:
            _stations.clear()
            _stations[file.sha256] = Station(file)
        return _stations[file.sha256]


def check(file: JobFile, scan: Path | None) -> int:
    """Load all before the first scan, and see whether a scan is there that whoever started the run sees.

    Returns:
        This process's id.

    Raises:
        WorkerError: this process cannot do the work.
        WeightsError: a network cannot be loaded.
    """
    station(file)
    if scan is not None and not scan.exists():
        raise not_seen(scan, "the scans")
    return os.getpid()


def work_on(file: JobFile, item: Item) -> Outcome:
    """Work on a scan in a cluster's worker."""
    return station(file).work(item)
