"""The files of a source: a folder, or a zip that is read without unpacking all of it."""

from __future__ import annotations

import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Self

from medlsam.errors import DatasetError, UsageError
from medlsam.io.folders import walk_folders

#: No scan or mask is larger; a zip that unpacks to more is damaged or made to harm.
_LARGEST = 16 * 2**30
_HIDDEN = re.compile(r"(^|/)(\.|__MACOSX)")


class SourceFiles:
    """Files by their path below a root, with slashes, whether the root is a folder or a zip.

    Attributes:
        root: the folder or zip.
        names: every file's path below the root, sorted; hidden files are left out.

    Raises:
        UsageError: there is no such folder or zip.
        DatasetError: the zip is damaged.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        # Open as long as the source is: a zip of a hundred thousand masks takes a second to open.
        self._archive: zipfile.ZipFile | None = None
        if root.is_dir():
            names = _below(root)
        elif not root.is_file():
            raise UsageError(f"{root}: there is no such folder or zip; give the place of your copy")
        else:
            self._archive = _opened(root)
            names = [entry.filename for entry in self._archive.infolist() if not entry.is_dir()]
        self.names: tuple[str, ...] = tuple(sorted(name for name in names if not _HIDDEN.search(name)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._archive is not None:
            self._archive.close()

    def matching(self, pattern: str) -> list[re.Match[str]]:
        """Matches of a regular expression with the ends of the paths, in the order of the paths.

        The pattern has to match whole names: what precedes it is the root or ends with a slash.
        """
        compiled = re.compile(rf"(?:^|.*/){pattern}")
        return [found for name in self.names if (found := compiled.fullmatch(name))]

    def text(self, name: str) -> str:
        """The content of a text file.

        Raises:
            DatasetError: it cannot be read.
        """
        with self.at_hand([name]) as folder:
            try:
                return (folder / PurePosixPath(name).name).read_text(encoding="utf-8-sig")
            except (OSError, ValueError) as error:
                raise DatasetError(f"{self.describe(name)}: cannot be read as text: {error}") from error

    @contextmanager
    def at_hand(self, names: Sequence[str]) -> Iterator[Path]:
        """A folder that holds these files, which lie in one folder of the source, as long as the block runs.

        Raises:
            DatasetError: one cannot be unpacked, or is larger than any scan.
        """
        parents = {str(PurePosixPath(name).parent) for name in names}
        assert len(parents) == 1, parents
        if self._archive is None:
            yield self.root / parents.pop()
            return
        with tempfile.TemporaryDirectory(prefix="medlsam-data-") as folder:
            for name in names:
                self._unpack(self._archive, name, Path(folder))
            yield Path(folder)

    def describe(self, name: str) -> str:
        """A file's place, for messages."""
        return f"{self.root}: {name}" if self._archive is not None else str(self.root / name)

    def _unpack(self, archive: zipfile.ZipFile, name: str, folder: Path) -> None:
        size = archive.getinfo(name).file_size
        if size > _LARGEST:
            raise DatasetError(f"{self.describe(name)}: unpacks to {size} bytes; no scan is so large")
        # Only the last part of the name is used, so that no name in a zip leads out of the folder.
        target = folder / PurePosixPath(name).name
        try:
            with archive.open(name) as source, target.open("wb") as stream:
                shutil.copyfileobj(source, stream, 1 << 20)
        except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, OSError) as error:
            # zipfile raises a plain RuntimeError where a password is needed.
            hint = (
                "; unpack the zip with its password and give the folder" if "password" in str(error) else ""
            )
            raise DatasetError(f"{self.describe(name)}: cannot be unpacked ({error}){hint}") from error


def _below(root: Path) -> list[str]:
    """Files below a folder; folders that are links are followed, each place once."""
    return [file.relative_to(root).as_posix() for _, files in walk_folders(root, set()) for file in files]


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise DatasetError(
            f"{path}: not a zip, or damaged ({error}); give the folder of your copy, or a whole zip"
        ) from error
