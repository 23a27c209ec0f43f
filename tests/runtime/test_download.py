"""Downloads: resumed, tried again, checked, through mirrors and proxies, and nothing half-written under the name."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medlsam.errors import DownloadError, UsageError
from medlsam.runtime import download, http_transfer
from medlsam.runtime.download import fetch, mirrored
from medlsam.runtime.http_transfer import Remote
from tests.support.web.web_server import Site, proxy, serve

CONTENT = bytes(range(256)) * 1200
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """No proxy of this machine, small chunks, and the waits that would have been."""
    for name in ("MEDLSAM_OFFLINE", "MEDLSAM_MIRROR", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(http_transfer, "_CHUNK", 1 << 14)
    waited: list[float] = []
    monkeypatch.setattr(http_transfer, "_pause", waited.append)
    return waited


@pytest.fixture
def site() -> Iterator[Site]:
    with serve(Site({"/file.bin": CONTENT})) as running:
        yield running


def remote(site: Site, digest: str | None = DIGEST, path: str = "/file.bin") -> Remote:
    return Remote(site.address + path, digest)


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_a_file_comes_whole_and_is_not_fetched_twice(site: Site, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    target = tmp_path / "new" / "file.bin"
    assert fetch(remote(site), target, lambda *at: seen.append(at)) == target
    assert target.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert os.listdir(target.parent) == ["file.bin"]
    fetch(remote(site), target)
    assert len(site.asked) == 1


def test_a_broken_connection_is_resumed_where_it_broke(
    site: Site, tmp_path: Path, pauses: list[float]
) -> None:
    site.break_after, site.breaks = 98_304, 3
    fetch(remote(site), tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert [asked for _, asked in site.asked] == [None, "bytes=98304-", "bytes=196608-", "bytes=294912-"]
    assert pauses == [0.0, 0.0, 0.0]  # every try brought something


def test_a_later_call_goes_on_with_what_an_earlier_one_left(site: Site, tmp_path: Path) -> None:
    site.break_after, site.breaks = 50_000, 1
    site.statuses = []
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:50_000])
    fetch(remote(site), tmp_path / "file.bin")
    assert site.asked[0] == ("/file.bin", "bytes=50000-")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert visible(tmp_path) == ["file.bin"]


def test_a_server_that_does_not_know_ranges_starts_again(site: Site, tmp_path: Path) -> None:
    site.ranges = False
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:70_000])
    fetch(remote(site), tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_a_part_of_another_file_is_thrown_away(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(b"x" * 1000)
    fetch(remote(site), tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("extra", [b"", b"too much"])
def test_a_part_that_is_whole_or_longer(site: Site, tmp_path: Path, extra: bytes) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT + extra)
    fetch(remote(site), tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_without_a_sum_a_changed_file_is_not_put_together_from_two(site: Site, tmp_path: Path) -> None:
    site.tag, site.break_after, site.breaks = '"one"', 98_304, 1
    other = CONTENT[::-1]

    def change(done: int, total: int | None) -> None:
        if done <= 98_304:
            site.files["/file.bin"], site.tag = other, '"two"'

    fetch(remote(site, None), tmp_path / "file.bin", change)
    assert (tmp_path / "file.bin").read_bytes() == other
    assert site.asked[1][1] == "bytes=98304-"


def test_without_sum_and_tag_it_starts_again(site: Site, tmp_path: Path) -> None:
    site.break_after, site.breaks = 98_304, 1
    (tmp_path / "file.bin.part").write_bytes(b"older")
    fetch(remote(site, None), tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert [asked for _, asked in site.asked] == [None, None]


def test_wrong_bytes_are_not_kept(site: Site, tmp_path: Path) -> None:
    site.files["/file.bin"] = b"<html>log in</html>"
    with pytest.raises(
        DownloadError, match=r"web page.*has 19 bytes and sha256:.*is recorded; nothing was kept"
    ):
        fetch(remote(site), tmp_path / "file.bin")
    assert visible(tmp_path) == []
    assert fetch(
        remote(site, "md5:" + hashlib.md5(b"<html>log in</html>").hexdigest()), tmp_path / "file.bin"
    )


def test_a_server_that_is_busy_is_asked_again(site: Site, tmp_path: Path, pauses: list[float]) -> None:
    site.statuses = [503, 429, 500]
    fetch(remote(site), tmp_path / "file.bin")
    assert pauses == [1.0, 3.0, 7.0]


def test_it_gives_up_and_keeps_what_came(site: Site, tmp_path: Path) -> None:
    site.break_after, site.breaks = 98_304, 1
    site.statuses = []
    seen: list[int] = []

    def then_nothing(done: int, total: int | None) -> None:
        seen.append(done)
        site.statuses = [503] * 20

    with pytest.raises(
        DownloadError, match=r"503.*after 5 tries without a new byte. 98304 bytes are kept in"
    ):
        fetch(remote(site), tmp_path / "file.bin", then_nothing)
    assert visible(tmp_path) == ["file.bin.part"]
    site.statuses = []
    fetch(remote(site), tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


@pytest.mark.parametrize(("status", "words"), [(404, "no such file"), (403, "forbidden"), (401, "login")])
def test_a_refusal_is_not_tried_again(site: Site, tmp_path: Path, status: int, words: str) -> None:
    site.statuses = [status]
    with pytest.raises(DownloadError, match=f"/file.bin: {status}.*{words}"):
        fetch(remote(site), tmp_path / "file.bin")
    assert len(site.asked) == 1
    assert visible(tmp_path) == []


def test_no_server_at_all_is_told(site: Site, tmp_path: Path, pauses: list[float]) -> None:
    with serve(Site()) as gone:
        address = gone.address
    with pytest.raises(DownloadError, match=r"the connection failed.*given up after 5 tries"):
        fetch(Remote(f"{address}/file.bin", DIGEST), tmp_path / "file.bin")
    assert pauses == [1.0, 3.0, 7.0, 15.0]
    with pytest.raises(DownloadError, match="cannot be fetched"):
        fetch(Remote("no-address", DIGEST), tmp_path / "file.bin")


def test_redirects_are_followed(site: Site, tmp_path: Path) -> None:
    site.moved = {"/old": f"{site.address}/file.bin"}
    fetch(remote(site, path="/old"), tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    site.moved = {"/loop": f"{site.address}/loop"}
    with pytest.raises(DownloadError, match="/loop: cannot be fetched.*redirects"):
        fetch(remote(site, path="/loop"), tmp_path / "loop.bin")


def test_the_proxy_of_the_environment_is_used(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.delenv("no_proxy")
    with proxy() as (address, seen):
        monkeypatch.setenv("HTTP_PROXY", address)
        monkeypatch.setenv("http_proxy", address)
        (tmp_path / "file.bin.part").write_bytes(CONTENT[:1234])
        fetch(remote(site), tmp_path / "file.bin")
    assert seen == [f"{site.address}/file.bin"]
    assert site.asked == [("/file.bin", "bytes=1234-")]
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    with pytest.raises(DownloadError, match=r"the proxy of the environment \(HTTPS_PROXY"):
        fetch(remote(site), tmp_path / "second.bin")


def test_offline_nothing_is_asked(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDLSAM_OFFLINE", "1")
    with pytest.raises(DownloadError, match="MEDLSAM_OFFLINE is set"):
        fetch(remote(site), tmp_path / "file.bin")
    assert site.asked == []
    (tmp_path / "file.bin").write_bytes(b"here")
    assert fetch(remote(site), tmp_path / "file.bin").read_bytes() == b"here"


def test_mirrors(monkeypatch: pytest.MonkeyPatch) -> None:
    published = Remote("https://a.example/x/file.bin?download=1", DIGEST, 3)
    assert mirrored(published, "file.bin") == published
    assert mirrored(published, "a b.bin", "https://b.example/y/") == Remote(
        "https://b.example/y/a%20b.bin", DIGEST, 3
    )
    monkeypatch.setenv("MEDLSAM_MIRROR", "http://c.example")
    assert mirrored(published, "file.bin").url == "http://c.example/file.bin"
    assert mirrored(published, "file.bin", "").url == published.url
    monkeypatch.setenv("MEDLSAM_MIRROR", "/mnt/share")
    with pytest.raises(UsageError, match="MEDLSAM_MIRROR is '/mnt/share'; give the address"):
        mirrored(published, "file.bin")
    assert published.file == "file.bin"


def test_a_disk_that_is_too_small_is_named_before_it_is_filled(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(http_transfer.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DownloadError, match=rf"the disk is full \({len(CONTENT)} bytes to come, 1000 free\)"):
        fetch(remote(site), tmp_path / "file.bin")
    assert visible(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_disk_that_fills_up_is_named(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").symlink_to("/dev/full")
    with pytest.raises(DownloadError, match="the disk is full.*file.bin.part.*choose another place"):
        fetch(remote(site), tmp_path / "file.bin")
    assert not (tmp_path / "file.bin").exists()


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_folder_that_cannot_be_written_is_named(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(DownloadError, match="file.bin: the folder cannot be written.*MEDLSAM_HOME"):
        fetch(remote(site), tmp_path / "file.bin")
    assert site.asked == []


def test_two_that_want_one_file_fetch_it_once(site: Site, tmp_path: Path) -> None:
    target, errors = tmp_path / "file.bin", []

    def want() -> None:
        try:
            fetch(remote(site), target)
        except DownloadError as error:
            errors.append(error)

    threads = [threading.Thread(target=want) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not errors
    assert len(site.asked) == 1
    assert target.read_bytes() == CONTENT


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    breaks=st.integers(0, 6),
    after=st.integers(1, 200_000),
    ranges=st.booleans(),
    left=st.integers(0, 320_000),
)
def test_whatever_breaks_the_file_is_right(
    tmp_path_factory: pytest.TempPathFactory, breaks: int, after: int, ranges: bool, left: int
) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "f.part").write_bytes((CONTENT + b"junk" * 5000)[:left])
    with serve(Site({"/f": CONTENT}, break_after=after, breaks=breaks, ranges=ranges)) as site:
        try:
            fetch(remote(site, path="/f"), folder / "f")
        except DownloadError:
            assert not (folder / "f").exists()
            assert breaks >= 5
            return
    assert (folder / "f").read_bytes() == CONTENT


def test_sums_are_named_by_their_algorithm(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(CONTENT)
    assert download.digest_of(tmp_path / "f") == DIGEST
    assert download.digest_of(tmp_path / "f", "md5") == f"md5:{hashlib.md5(CONTENT).hexdigest()}"
    with pytest.raises(DownloadError, match="none: cannot be read"):
        download.digest_of(tmp_path / "none")
