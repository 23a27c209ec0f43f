"""The registry of weights: every way in which a file can be wrong is named."""

from __future__ import annotations

import functools
import hashlib
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from medlsam.errors import WeightsError
from medlsam.runtime.atomic_files import read_sums, write_sums
from medlsam.weights import registry, store
from medlsam.weights.registry import WeightsEntry

CONTENT = b"weights" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty MEDLSAM_HOME, online."""
    folder = tmp_path / "home"
    monkeypatch.setenv("MEDLSAM_HOME", str(folder))
    monkeypatch.delenv("MEDLSAM_OFFLINE", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return folder / "weights"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A web server on this machine that offers ``good.pth``; its address."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "good.pth").write_bytes(CONTENT)
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


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
        assert item.shipped or item.source or (item.url and item.url.endswith(item.file))
        if item.url:  # nothing is downloaded without a sum
            assert item.known_sha256 is not None
            assert len(bytes.fromhex(item.known_sha256)) == 32


def test_download_checks_keeps_and_does_not_repeat(
    server: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = add_entry(monkeypatch, url=f"{server}/good.pth", known_sha256=DIGEST)
    assert registry.state(item) == "absent"
    assert registry.resolve("remote", "segmenter") == home / "good.pth"
    assert (home / "good.pth").read_bytes() == CONTENT
    assert registry.state(item) == "ok"
    assert registry.identify(home / "good.pth") == item
    monkeypatch.setenv("MEDLSAM_OFFLINE", "1")  # what is there needs no network
    assert registry.resolve("remote", "segmenter") == home / "good.pth"


def test_download_with_another_sum_is_not_kept(
    server: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_entry(monkeypatch, url=f"{server}/good.pth", known_sha256="0" * 64)
    with pytest.raises(WeightsError, match=f"remote: the download of {server}/good.pth failed.*{DIGEST}"):
        registry.download("remote")
    assert list(home.iterdir()) == []


def test_failed_connection_is_named(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    add_entry(monkeypatch, url=f"{server}/absent.pth", known_sha256=DIGEST)
    with pytest.raises(WeightsError, match=r"absent.pth failed, nothing was kept: 404"):
        registry.download("remote")


def test_cached_file_with_another_sum_is_named_and_left_alone(
    server: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = add_entry(monkeypatch, url=f"{server}/good.pth", known_sha256=DIGEST)
    home.mkdir(parents=True)
    (home / "good.pth").write_bytes(b"somebody's own")
    wrong = hashlib.sha256(b"somebody's own").hexdigest()
    assert registry.state(item) == "damaged"
    with pytest.raises(WeightsError, match=f"good.pth is damaged.*{wrong}.*{DIGEST}.*move it away"):
        registry.resolve("remote", "segmenter")
    assert (home / "good.pth").read_bytes() == b"somebody's own"


@pytest.mark.parametrize("value", ["1", "true", "YES"])
def test_offline_says_what_to_fetch_and_where_to_put_it(
    value: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDLSAM_OFFLINE", value)
    with pytest.raises(WeightsError) as error:
        registry.resolve("sam_vit_b", "segmenter")
    for part in ("MEDLSAM_OFFLINE", "sam_vit_b_01ec64.pth", "ec2df62732614e57", str(home)):
        assert part in str(error.value)


@pytest.mark.parametrize("value", ["", "0", "false"])
def test_offline_can_be_switched_off(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDLSAM_OFFLINE", value)
    assert not registry.is_offline()


def test_medsam_has_to_be_brought(home: Path) -> None:
    with pytest.raises(WeightsError, match=r"bowang-lab/MedSAM.*put the file at .*medsam_vit_b\.pth"):
        registry.resolve("medsam_vit_b", "segmenter")
    home.mkdir(parents=True)
    (home / "medsam_vit_b.pth").write_bytes(CONTENT)
    assert registry.resolve("medsam_vit_b", "segmenter") == home / "medsam_vit_b.pth"
    assert registry.state(registry.entry("medsam_vit_b")) == "unverified"


def test_resolve_takes_paths_and_names_what_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "mine.safetensors"
    file.write_bytes(b"x")
    assert registry.resolve(file, "localizer") == file
    with pytest.raises(WeightsError, match="is a folder"):
        registry.resolve(tmp_path, "localizer")
    with pytest.raises(WeightsError, match="sam_vit_x is neither a file nor a name.*sam-tiny, sam_vit_b"):
        registry.resolve("sam_vit_x", "segmenter")
    with pytest.raises(WeightsError, match="medlam-tiny is a localizer, a segmenter is wanted"):
        registry.resolve("medlam-tiny", "segmenter")
    with pytest.raises(WeightsError, match="no weights are called 'x'; there are: medlam-tiny"):
        registry.entry("x")


@pytest.mark.parametrize(("name", "limit_mb"), [("medlam-tiny", 8), ("sam-tiny", 16)])
def test_shipped_weights(name: str, limit_mb: int) -> None:
    item = registry.entry(name)
    path = registry.resolve(name, item.kind)
    assert registry.state(item) == "ok", "after a training: python -m medlsam.weights"
    assert path.stat().st_size <= limit_mb * 1_000_000
    assert store.read_header(path)[0] == item.kind
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    assert name in card
    assert "openkbp" in card.lower(), "the model card names the training data"


def test_no_file_ships_without_a_sum() -> None:
    shipped = {path.name for path in registry.SHIPPED_DIR.glob("*.safetensors")}
    assert shipped == set(read_sums(registry.SHIPPED_DIR))
    assert shipped == {item.file for item in registry.ENTRIES.values() if item.shipped}


def test_damaged_shipped_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "SHIPPED_DIR", tmp_path)
    with pytest.raises(
        WeightsError, match=r"medlam-tiny.safetensors does not exist.*installation is incomplete"
    ):
        registry.resolve("medlam-tiny", "localizer")
    file = tmp_path / "medlam-tiny.safetensors"
    file.write_bytes(CONTENT)
    assert write_sums(tmp_path) == {"medlam-tiny.safetensors": DIGEST}
    assert registry.resolve("medlam-tiny", "localizer") == file
    file.write_bytes(CONTENT[:-1])
    with pytest.raises(WeightsError, match=f"damaged.*{DIGEST} is recorded.*install the package again"):
        registry.resolve("medlam-tiny", "localizer")


def test_registry_needs_no_torch() -> None:
    code = "import sys, medlsam.weights; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
