"""The registry of weights: every way in which a file can be wrong is named."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from medlsam.errors import UsageError, WeightsError
from medlsam.runtime import http_transfer
from medlsam.runtime.atomic_files import read_sums, write_sums
from medlsam.weights import entries, fetch, registry, store
from medlsam.weights.entries import WeightsEntry
from tests.support.web.web_server import Site, serve

CONTENT = b"weights" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty MEDLSAM_HOME, online."""
    folder = tmp_path / "home"
    monkeypatch.setenv("MEDLSAM_HOME", str(folder))
    monkeypatch.delenv("MEDLSAM_OFFLINE", raising=False)
    monkeypatch.delenv("MEDLSAM_MIRROR", raising=False)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setattr(http_transfer, "_pause", lambda _: None)
    return folder / "weights"


@pytest.fixture
def server() -> Iterator[Site]:
    """A web server on this machine that offers ``good.pth``."""
    with serve(Site({"/good.pth": CONTENT})) as running:
        yield running


def add_entry(monkeypatch: pytest.MonkeyPatch, **fields: object) -> WeightsEntry:
    """Put one more segmenter, ``remote``, into the registry."""
    item = WeightsEntry(name="remote", kind="segmenter", file="good.pth", licence="x", description="x")
    item = replace(item, **fields)
    monkeypatch.setattr(registry, "ENTRIES", MappingProxyType({**registry.ENTRIES, "remote": item}))
    return item


def test_registry_is_consistent() -> None:
    assert registry.names("localizer") == ["medlam-tiny", "published"]
    assert registry.names("segmenter") == [
        *("sam-tiny", "sam_vit_b", "sam_vit_l", "sam_vit_h", "medsam_vit_b", "litemedsam", "mobile_sam")
    ]
    for name, item in registry.ENTRIES.items():
        assert item.name == name
        assert item.licence
        assert item.trained_on
        assert item.shipped or item.url or item.given_as
        assert item.shipped or item.source or (item.url and item.url.endswith(item.file))
        if item.url:  # nothing is downloaded without a sum
            assert item.known_sha256 is not None
            assert len(bytes.fromhex(item.known_sha256)) == 32


def test_download_checks_keeps_and_does_not_repeat(
    server: Site, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = add_entry(monkeypatch, url=f"{server.address}/good.pth", known_sha256=DIGEST)
    assert registry.state(item) == "absent"
    assert fetch.resolve("remote", "segmenter") == home / "good.pth"
    assert (home / "good.pth").read_bytes() == CONTENT
    assert registry.state(item) == "ok"
    assert registry.identify(home / "good.pth") == item
    monkeypatch.setenv("MEDLSAM_OFFLINE", "1")  # what is there needs no network
    assert fetch.resolve("remote", "segmenter") == home / "good.pth"


def test_download_with_another_sum_is_not_kept(
    server: Site, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_entry(monkeypatch, url=f"{server.address}/good.pth", known_sha256="0" * 64)
    with pytest.raises(
        WeightsError,
        match=f"remote is not downloaded: {server.address}/good.pth: .*{DIGEST}.*nothing was kept",
    ):
        fetch.download("remote")
    assert [file.name for file in home.iterdir() if not file.name.startswith(".")] == []


def test_failed_connection_is_named(server: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    add_entry(monkeypatch, url=f"{server.address}/absent.pth", known_sha256=DIGEST)
    with pytest.raises(WeightsError, match=r"remote is not downloaded: .*/absent.pth: 404.*no such file"):
        fetch.download("remote")


def test_cached_file_with_another_sum_is_named_and_left_alone(
    server: Site, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = add_entry(monkeypatch, url=f"{server.address}/good.pth", known_sha256=DIGEST)
    home.mkdir(parents=True)
    (home / "good.pth").write_bytes(b"somebody's own")
    wrong = hashlib.sha256(b"somebody's own").hexdigest()
    assert registry.state(item) == "damaged"
    with pytest.raises(WeightsError, match=f"good.pth is damaged.*{wrong}.*{DIGEST}.*move it away"):
        fetch.resolve("remote", "segmenter")
    assert (home / "good.pth").read_bytes() == b"somebody's own"


def test_a_broken_download_goes_on_with_the_next_call(
    server: Site, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_entry(monkeypatch, url=f"{server.address}/good.pth", known_sha256=DIGEST)
    home.mkdir(parents=True)
    (home / "good.pth.part").write_bytes(CONTENT[:5000])
    seen: list[tuple[int, int | None]] = []
    fetch.download("remote", on_progress=lambda *at: seen.append(at))
    assert server.asked == [("/good.pth", "bytes=5000-")]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert (home / "good.pth").read_bytes() == CONTENT


def test_a_mirror_is_asked_instead_and_its_sum_checked(
    server: Site, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_entry(monkeypatch, url="https://publisher.invalid/good.pth", known_sha256=DIGEST)
    server.files = {"/mirror/good.pth": b"not the weights"}
    with pytest.raises(WeightsError, match=f"{server.address}/mirror/good.pth: .*{DIGEST} is recorded"):
        fetch.download("remote", mirror=f"{server.address}/mirror")
    server.files = {"/mirror/good.pth": CONTENT}
    monkeypatch.setenv("MEDLSAM_MIRROR", f"{server.address}/mirror/")
    assert fetch.resolve("remote", "segmenter") == home / "good.pth"
    (home / "good.pth").unlink()
    with pytest.raises(UsageError, match="--mirror is 'mirror'"):
        fetch.download("remote", mirror="mirror")


def test_somebody_who_looks_on_is_told_what_is_downloaded(
    server: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add_entry(monkeypatch, url=f"{server.address}/good.pth", known_sha256=DIGEST, bytes=7_000_000)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    fetch.download("remote")
    assert f"downloading remote (7 MB) from {server.address}/good.pth to" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["1", "true", "YES"])
def test_offline_says_what_to_fetch_and_where_to_put_it(
    value: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDLSAM_OFFLINE", value)
    with pytest.raises(WeightsError) as error:
        fetch.resolve("sam_vit_b", "segmenter")
    for part in ("MEDLSAM_OFFLINE", "sam_vit_b_01ec64.pth", "ec2df62732614e57", str(home)):
        assert part in str(error.value)


@pytest.mark.parametrize("value", ["", "0", "false"])
def test_offline_can_be_switched_off(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDLSAM_OFFLINE", value)
    assert not fetch.is_offline()


def test_medsam_has_to_be_brought(home: Path) -> None:
    with pytest.raises(WeightsError, match=r"bowang-lab/MedSAM.*put the file at .*medsam_vit_b\.pth"):
        fetch.resolve("medsam_vit_b", "segmenter")
    home.mkdir(parents=True)
    (home / "medsam_vit_b.pth").write_bytes(CONTENT)
    assert fetch.resolve("medsam_vit_b", "segmenter") == home / "medsam_vit_b.pth"
    assert registry.state(registry.entry("medsam_vit_b")) == "unverified"


def test_the_published_network_says_where_to_get_it_and_how_to_give_it(home: Path) -> None:
    with pytest.raises(WeightsError) as error:
        fetch.resolve("published", "localizer")
    for part in (
        "https://github.com/openmedlab/MedLSAM",
        "a licence that forbids commercial use",
        f"put the file at {home / 'medlam.pth'}",
        "--localizer published --weights medlam.pth",
    ):
        assert part in str(error.value)


def test_resolve_takes_paths_and_names_what_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "mine.safetensors"
    file.write_bytes(b"x")
    assert fetch.resolve(file, "localizer") == file
    with pytest.raises(WeightsError, match="is a folder"):
        fetch.resolve(tmp_path, "localizer")
    with pytest.raises(WeightsError, match="sam_vit_x is neither a file nor a name.*sam-tiny, sam_vit_b"):
        fetch.resolve("sam_vit_x", "segmenter")
    with pytest.raises(WeightsError, match="medlam-tiny is a localizer, a segmenter is wanted"):
        fetch.resolve("medlam-tiny", "segmenter")
    with pytest.raises(WeightsError, match="no weights are called 'x'; there are: medlam-tiny"):
        registry.entry("x")


@pytest.mark.parametrize(("name", "limit_mb"), [("medlam-tiny", 8), ("sam-tiny", 16)])
def test_shipped_weights(name: str, limit_mb: int) -> None:
    item = registry.entry(name)
    path = fetch.resolve(name, item.kind)
    assert registry.state(item) == "ok", "after a training: python -m medlsam.weights"
    assert path.stat().st_size <= limit_mb * 1_000_000
    assert store.read_header(path)[0] == item.kind
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    assert name in card
    assert "openkbp" in card.lower(), "the model card names the training data"


def test_no_file_ships_without_a_sum() -> None:
    shipped = {path.name for path in entries.SHIPPED_DIR.glob("*.safetensors")}
    assert shipped == set(read_sums(entries.SHIPPED_DIR))
    assert shipped == {item.file for item in registry.ENTRIES.values() if item.shipped}


def test_damaged_shipped_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "SHIPPED_DIR", tmp_path)
    with pytest.raises(
        WeightsError, match=r"medlam-tiny.safetensors does not exist.*installation is incomplete"
    ):
        fetch.resolve("medlam-tiny", "localizer")
    file = tmp_path / "medlam-tiny.safetensors"
    file.write_bytes(CONTENT)
    assert write_sums(tmp_path) == {"medlam-tiny.safetensors": DIGEST}
    assert fetch.resolve("medlam-tiny", "localizer") == file
    file.write_bytes(CONTENT[:-1])
    with pytest.raises(WeightsError, match=f"damaged.*{DIGEST} is recorded.*install the package again"):
        fetch.resolve("medlam-tiny", "localizer")


def test_registry_needs_no_torch() -> None:
    code = "import sys, medlsam.weights; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
