"""Folders and zips as sources: the same names, nothing outside of the folder, and damaged zips named."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from medlsam.data import files as files_module
from medlsam.data.files import SourceFiles
from medlsam.errors import DatasetError, UsageError
from tests.support.data.public_sources import zipped


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a/b/one.txt", "a/two.txt", "a/.hidden", ".git/x", "__MACOSX/y"):
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_text(name)
    return tmp_path / "root"


def test_a_folder_and_its_zip_have_the_same_files(folder: Path, tmp_path: Path) -> None:
    with SourceFiles(folder) as plain, SourceFiles(zipped(folder, tmp_path / "z.zip")) as packed:
        assert plain.names == packed.names == ("a/b/one.txt", "a/two.txt")
        for files in (plain, packed):
            assert files.text("a/b/one.txt") == "a/b/one.txt"
            with files.at_hand(["a/two.txt"]) as place:
                assert (place / "two.txt").read_text() == "a/two.txt"
            assert [found[1] for found in files.matching(r"(\w+)\.txt")] == ["one", "two"]
            assert files.matching(r"ne\.txt") == []  # whole names only
        assert not place.exists()  # what was unpacked is gone


def test_links_that_go_round_end(folder: Path) -> None:
    (folder / "a" / "round").symlink_to(folder)
    (folder / "elsewhere").symlink_to(folder / "a" / "b")
    with SourceFiles(folder) as files:
        assert {name.rpartition("/")[2] for name in files.names} == {"one.txt", "two.txt"}
        assert len(files.names) == 2


def test_a_name_in_a_zip_leads_nowhere(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../../evil.txt", "x")
        archive.writestr("/evil2.txt", "x")
    with SourceFiles(tmp_path / "evil.zip") as files:
        for name in files.names:
            with files.at_hand([name]) as place:
                assert [file.parent for file in place.rglob("*")] == [place]
    assert not (tmp_path.parent / "evil.txt").exists()


def test_a_file_that_unpacks_to_too_much_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_module, "_LARGEST", 5)
    with (
        SourceFiles(zipped(folder, tmp_path / "z.zip")) as files,
        pytest.raises(DatasetError, match=r"z.zip: a/two.txt: unpacks to 9 bytes; no scan is so large"),
    ):
        files.text("a/two.txt")


def test_damaged_and_locked_zips_are_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "no.zip").write_bytes(b"no zip")
    with pytest.raises(DatasetError, match=r"no.zip: not a zip, or damaged"):
        SourceFiles(tmp_path / "no.zip")
    with pytest.raises(UsageError, match=r"none: there is no such folder or zip"):
        SourceFiles(tmp_path / "none")
    good = zipped(folder, tmp_path / "z.zip").read_bytes()
    spoiled = good.index(b"a/b/one.txt") + len(b"a/b/one.txt")
    (tmp_path / "bits.zip").write_bytes(good[:spoiled] + b"X" + good[spoiled + 1 :])
    with (
        SourceFiles(tmp_path / "bits.zip") as files,
        pytest.raises(DatasetError, match="cannot be unpacked.*CRC"),
    ):
        files.text("a/b/one.txt")
    # Bit 0 of the flags says that a password is needed: in the header of the file and in the list at the end.
    locked = bytearray(good)
    place = locked.index(b"PK\x03\x04")
    while place >= 0:
        locked[place + 6] |= 1
        place = locked.find(b"PK\x03\x04", place + 4)
    place = locked.index(b"PK\x01\x02")
    while place >= 0:
        locked[place + 8] |= 1
        place = locked.find(b"PK\x01\x02", place + 4)
    (tmp_path / "locked.zip").write_bytes(locked)
    with (
        SourceFiles(tmp_path / "locked.zip") as files,
        pytest.raises(DatasetError, match="password.*unpack the zip with its password and give the folder"),
    ):
        files.text("a/two.txt")


def test_text_that_is_none_is_named(folder: Path) -> None:
    (folder / "a" / "two.txt").write_bytes(b"\xff\xfe\x00")
    with SourceFiles(folder) as files, pytest.raises(DatasetError, match="two.txt: cannot be read as text"):
        files.text("a/two.txt")
