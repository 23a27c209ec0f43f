"""From a public data set to an nnU-Net dataset on this disk: fetch, check, convert, one case at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from medlsam.data.archive import fetch_archive
from medlsam.data.files import SourceFiles
from medlsam.data.layout import DatasetFolder, EmptyLabelsError, write_case, write_tables
from medlsam.data.source import DataSource, FoundCases
from medlsam.data.sources import source_of
from medlsam.errors import DatasetError, MedlsamError, UsageError

_DOWNLOADS = "downloads"


@dataclass(frozen=True)
class DataProgress:
    """Where ``prepare`` is.

    Attributes:
        stage: ``download`` counts bytes, ``convert`` cases.
        item: the file or case.
        done: bytes or cases that are here.
        total: of how many; None where the server does not say.
        error: why the case failed, once it has.
    """

    stage: Literal["download", "convert"]
    item: str
    done: int
    total: int | None
    error: str | None = None


@dataclass(frozen=True)
class PrepareResult:
    """What ``prepare`` made.

    Attributes:
        source: name of the data set.
        folder: ``Dataset###_<Name>``.
        done: cases written now.
        skipped: cases that were there.
        failed: case to reason.
        left_out: what was not meant, to reason.
        warnings: what the user should know.
    """

    source: str
    folder: Path
    done: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 where all cases are there, else 1."""
        return 1 if self.failed else 0

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "source": self.source,
            "folder": str(self.folder),
            "done": list(self.done),
            "skipped": list(self.skipped),
            "failed": self.failed,
            "left_out": self.left_out,
            "warnings": list(self.warnings),
            "exit_code": self.exit_code,
        }


def prepare(
    name: str,
    output: Path | str,
    source: Path | str | None = None,
    on_progress: Callable[[DataProgress], None] | None = None,
    *,
    mirror: str | None = None,
) -> PrepareResult:
    """Lay a public data set out as an nnU-Net dataset.

    A second call goes on where the first one ended. A case that cannot be read is named in the result, and the others
    are written.

    Args:
        name: of ``medlsam.data.SOURCES``.
        output: folder; ``Dataset###_<Name>`` is made in it, and ``downloads`` for what is fetched.
        source: the user's own copy, a folder or a zip; None: it is fetched, where that is allowed.
        on_progress: called as bytes arrive and as cases are written.
        mirror: address of a folder with the published file; None: ``MEDLSAM_MIRROR``, if that is set.

    Returns:
        What was written, what was there, and what failed.

    Raises:
        UsageError: unknown name; the data set has to be fetched by hand (the message says how); no such copy; another
            run is at work on the dataset.
        DownloadError: it cannot be fetched.
        DatasetError: the copy does not have the layout of the data set.
    """
    about, output = source_of(name), Path(output)
    if source is None and not about.fetched:
        raise UsageError(
            f"{about.title} is not fetched by itself ({about.licence}): {about.how_to_get}; then run "
            f"`medlsam data {name} --from COPY --output {output}`"
        )
    tell = on_progress or (lambda _: None)
    with _found(about, output, source, mirror, tell) as (found, warnings):
        if not found.cases:
            place = source if source is not None else output / _DOWNLOADS
            raise DatasetError(f"{place}: no scan of {about.title} in it; expected are {about.expected}")
        dataset = DatasetFolder(output / about.dataset, found.names)
        with _alone(dataset.path):
            return _convert(about, dataset, found, warnings, tell)


@contextmanager
def _found(
    about: DataSource,
    output: Path,
    source: Path | str | None,
    mirror: str | None,
    tell: Callable[[DataProgress], None],
) -> Iterator[tuple[FoundCases, tuple[str, ...]]]:
    """The cases of a source, and warnings; its files stay open as long as the block runs."""
    downloads = output / _DOWNLOADS
    if source is None and about.online is not None:
        yield about.online(downloads / about.name), ()
        return
    warnings: tuple[str, ...] = ()
    if source is None:
        source, warnings = fetch_archive(
            about,
            downloads,
            mirror,
            lambda done, total: tell(DataProgress("download", about.archive_file, done, total)),
        )
    with SourceFiles(Path(source)) as files:
        yield about.find(files), warnings


def _convert(
    about: DataSource,
    dataset: DatasetFolder,
    found: FoundCases,
    warnings: tuple[str, ...],
    tell: Callable[[DataProgress], None],
) -> PrepareResult:
    done: list[str] = []
    skipped: list[str] = []
    failed: dict[str, str] = {}
    left_out = dict(found.left_out)
    cases = sorted(found.cases, key=lambda case: case.name)
    for number, case in enumerate(cases):
        tell(DataProgress("convert", case.name, number, len(cases)))
        if dataset.is_done(case):
            skipped.append(case.name)
            continue
        try:
            write_case(dataset, case, case.read())
            done.append(case.name)
        except EmptyLabelsError as error:
            left_out[case.name] = str(error)
        except (MedlsamError, OSError, RuntimeError, ValueError) as error:
            # Files of others: what a library says of a damaged one is not always one of our errors.
            failed[case.name] = str(error) or type(error).__name__
            tell(DataProgress("convert", case.name, number + 1, len(cases), failed[case.name]))
    tell(DataProgress("convert", "", len(cases), len(cases)))
    write_tables(dataset, about, found)
    return PrepareResult(about.name, dataset.path, tuple(done), tuple(skipped), failed, left_out, warnings)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the dataset against a second run; the hold ends with the process, however that ends."""
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout as error:
        raise UsageError(f"{folder}: another run is at work on it; wait until it has ended") from error
    except OSError as error:
        raise UsageError(
            f"{folder}: cannot be written ({error.strerror or error}); choose another --output"
        ) from error
