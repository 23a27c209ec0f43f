"""The way of a data set: fetched or from a copy, resumed, with bad cases named and the others written."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from filelock import FileLock

from medlsam.data import SOURCES, DataProgress, PrepareResult, layout, prepare, sources
from medlsam.data.adapters import btcv
from medlsam.data.source import DataSource
from medlsam.errors import DatasetError, DownloadError, UsageError
from medlsam.geometry import Grid
from medlsam.io.labels import read_label_map
from medlsam.io.read import read_image
from medlsam.io.write import write_volume
from medlsam.runtime.http_transfer import Remote
from medlsam.volume.volume import Image, LabelMap
from tests.support.data.public_sources import GRID, SAMPLES, MakeCt, zipped
from tests.support.web.web_server import Site, serve


@pytest.fixture
def copy(tmp_path: Path, make_ct: MakeCt) -> Path:
    """A copy of WORD."""
    SAMPLES["word"](tmp_path / "copy", make_ct)
    return tmp_path / "copy"


def files_of(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file with its place on the disk and time: what is written anew has another place."""
    return {
        str(file.relative_to(folder)): (file.stat().st_ino, file.stat().st_mtime_ns)
        for file in folder.rglob("*")
        if file.is_file() and file.name != ".lock"
    }


def test_a_second_run_writes_no_case_again(copy: Path, tmp_path: Path) -> None:
    first = prepare("word", tmp_path / "out", copy)
    before = files_of(first.folder)
    second = prepare("word", tmp_path / "out", copy)
    assert second.skipped == first.done
    assert second.done == ()
    after = files_of(first.folder)
    volumes = [name for name in before if name.endswith(".nii.gz")]
    assert len(volumes) == 6
    assert {name: before[name] for name in volumes} == {name: after[name] for name in volumes}


def damaged(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:200])


def not_ct(file: Path) -> None:
    grid = read_image(file).grid
    write_volume(
        Image(np.random.default_rng(0).integers(0, 200, grid.shape_zyx).astype(np.int16), grid), file
    )


def moved(file: Path) -> None:
    image = read_image(file)
    grid = replace(image.grid, origin_xyz=(0.0, 0.0, 0.0))
    write_volume(Image(image.array, grid), file)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (damaged, "truncated"),
        (not_ct, "8-bit picture"),
        (moved, "does not lie on the grid.*corners are"),
    ],
)
def test_a_bad_case_is_named_and_the_others_are_written(
    spoil: Callable[[Path], None], words: str, copy: Path, tmp_path: Path
) -> None:
    bad = copy / "imagesTr" / "word_0002.nii.gz"
    kept = bad.read_bytes()
    spoil(bad)
    seen: list[DataProgress] = []
    result = prepare("word", tmp_path / "out", copy, seen.append)
    assert result.exit_code == 1
    assert list(result.failed) == ["word_0002"]
    assert str(bad) in result.failed["word_0002"]
    assert re.search(words, result.failed["word_0002"])
    assert [at.item for at in seen if at.error] == ["word_0002"]
    assert result.done == ("word_0001", "word_0014")
    assert not [name for name in files_of(result.folder) if "word_0002" in name]
    assert json.loads((result.folder / "dataset.json").read_text())["numTraining"] == 2
    bad.write_bytes(kept)
    again = prepare("word", tmp_path / "out", copy)
    assert (again.done, again.skipped, again.exit_code) == (("word_0002",), ("word_0001", "word_0014"), 0)
    assert json.loads((result.folder / "dataset.json").read_text())["numTraining"] == 3


def test_a_value_that_is_no_structure_is_named(copy: Path, tmp_path: Path) -> None:
    file = copy / "labelsTr" / "word_0002.nii.gz"
    array = np.zeros(GRID.shape_zyx, np.uint8)
    array[4:6, 4:6, 4:6] = 17
    write_volume(LabelMap(array, GRID), file)
    result = prepare("word", tmp_path / "out", copy)
    assert f"{file}: value 17 is no structure of this source" in result.failed["word_0002"]


def test_a_scan_without_any_structure_is_left_out(copy: Path, tmp_path: Path) -> None:
    write_volume(LabelMap(np.zeros(GRID.shape_zyx, np.uint8), GRID), copy / "labelsTr" / "word_0002.nii.gz")
    result = prepare("word", tmp_path / "out", copy)
    assert result.exit_code == 0
    assert "no structure is labelled" in result.left_out["word_0002"]
    assert not (result.folder / "labelsTr" / "word_0002.nii.gz").exists()


def test_an_interrupted_run_goes_on(copy: Path, tmp_path: Path) -> None:
    def stop(at: DataProgress) -> None:
        if at.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare("word", tmp_path / "out", copy, stop)
    whole = prepare("word", tmp_path / "other", copy)
    rest = prepare("word", tmp_path / "out", copy)
    assert (rest.skipped, rest.done) == (("word_0001", "word_0002"), ("word_0014",))
    for name in ("dataset.json", "cases.json", "splits.json"):
        assert (rest.folder / name).read_text() == (whole.folder / name).read_text()


def test_half_a_case_is_written_again(copy: Path, tmp_path: Path) -> None:
    folder = prepare("word", tmp_path / "out", copy).folder
    (folder / ".cases" / "word_0014.json").unlink()
    (folder / "labelsTr" / "word_0001.nii.gz").unlink()
    assert prepare("word", tmp_path / "out", copy).done == ("word_0001", "word_0014")


def test_values_that_mean_something_else_now_are_written_again(tmp_path: Path, make_ct: MakeCt) -> None:
    SAMPLES["btcv"](tmp_path / "copy", make_ct)
    prepare("btcv", tmp_path / "out", tmp_path / "copy")
    names = {str(value): name for value, name in enumerate(reversed(btcv.STRUCTURES), start=1)}
    (tmp_path / "copy" / "labels.json").write_text(json.dumps(names))
    assert prepare("btcv", tmp_path / "out", tmp_path / "copy").done == ("img0001",)


def test_a_failed_write_leaves_nothing_of_the_case(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(volume: Image | LabelMap, path: Path) -> None:
        if "labelsTr" in str(path):
            raise OSError(28, "No space left on device")
        write_volume(volume, path)

    monkeypatch.setattr(layout, "write_volume", full)
    result = prepare("word", tmp_path / "out", copy)
    assert "No space left on device" in result.failed["word_0001"]
    assert not list(result.folder.rglob("*.nii.gz"))


def test_a_dataset_is_held_against_a_second_run(copy: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out" / SOURCES["word"].dataset
    folder.mkdir(parents=True)
    with FileLock(folder / ".lock"), pytest.raises(UsageError, match="another run is at work on it"):
        prepare("word", tmp_path / "out", copy)


def test_what_is_not_fetched_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        prepare("btcv", tmp_path / "out")
    for part in (
        "https://www.synapse.org",
        "RawData.zip",
        f"medlsam data btcv --from COPY --output {tmp_path}",
    ):
        assert part in str(error.value)
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="no public data set is called 'btvc'; there are: openkbp"):
        prepare("btvc", tmp_path / "out")


def test_a_copy_of_something_else_is_refused(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"copy: no scan of OpenKBP in it; expected are provided-data"):
        prepare("openkbp", tmp_path / "out", copy)
    with pytest.raises(UsageError, match="none: there is no such folder or zip"):
        prepare("openkbp", tmp_path / "out", tmp_path / "none")


# --- fetched ----------------------------------------------------------------------------------------------------------


def offered(monkeypatch: pytest.MonkeyPatch, site: Site, digest: str | None) -> DataSource:
    """WORD, as if it might be fetched from a server of this machine."""
    about = replace(
        SOURCES["word"],
        archive=Remote(f"{site.address}/word.zip?download=1", digest),
        archive_file="word.zip",
    )
    monkeypatch.setattr(sources, "SOURCES", MappingProxyType({**SOURCES, "word": about}))
    return about


@pytest.fixture
def content(copy: Path, tmp_path: Path) -> bytes:
    return zipped(copy, tmp_path / "word.zip", "WORD-V0.1.0/").read_bytes()


def test_it_is_fetched_checked_and_kept(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[DataProgress] = []
    digest = f"md5:{hashlib.md5(content).hexdigest()}"
    with serve(Site({"/word.zip": content}, break_after=1 << 16, breaks=1)) as site:
        offered(monkeypatch, site, digest)
        result = prepare("word", tmp_path / "out", on_progress=seen.append)
        assert result.done == ("word_0001", "word_0002", "word_0014")
        assert result.warnings == ()
        assert [at for at in seen if at.stage == "download"][-1].done == len(content)
        asked = len(site.asked)
        assert prepare("word", tmp_path / "out").skipped == result.done
        assert len(site.asked) == asked
    zip_file = tmp_path / "out" / "downloads" / "word.zip"
    zip_file.write_bytes(b"something else")
    with pytest.raises(DownloadError, match=rf"word.zip is damaged.*{digest} is recorded; move it away"):
        prepare("word", tmp_path / "out")
    assert zip_file.read_bytes() == b"something else"


def test_where_nobody_publishes_a_sum_the_first_download_makes_it(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(Site({"/word.zip": content})) as site:
        offered(monkeypatch, site, None)
        result = prepare("word", tmp_path / "out")
        sum_of_it = f"sha256:{hashlib.sha256(content).hexdigest()}"
        assert len(result.warnings) == 1
        assert sum_of_it in result.warnings[0]
        assert prepare("word", tmp_path / "out").warnings == ()
        (tmp_path / "out" / "downloads" / "word.zip").unlink()
        site.files["/word.zip"] = content + b"changed"
        with pytest.raises(DownloadError, match=f"{sum_of_it} is recorded; nothing was kept"):
            prepare("word", tmp_path / "out")


def test_a_mirror_of_data(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(Site({"/m/word.zip": content})) as site:
        offered(
            monkeypatch, Site(address="https://publisher.invalid"), f"md5:{hashlib.md5(content).hexdigest()}"
        )
        result = prepare("word", tmp_path / "out", mirror=f"{site.address}/m")
    assert len(result.done) == 3


def test_offline_nothing_is_fetched(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDLSAM_OFFLINE", "1")
    with serve(Site({"/word.zip": content})) as site:
        offered(monkeypatch, site, None)
        with pytest.raises(DownloadError, match="MEDLSAM_OFFLINE is set"):
            prepare("word", tmp_path / "out")
        assert site.asked == []


def test_the_sources_are_complete() -> None:
    assert len({about.dataset for about in SOURCES.values()}) == len(SOURCES)
    for name, about in SOURCES.items():
        assert about.name == name
        assert about.fetched != bool(about.how_to_get)
        assert about.dataset.startswith("Dataset7")
        for text in (about.title, about.contents, about.licence, about.citation, about.expected):
            assert text
        for url in (about.homepage, about.licence_url):
            assert url.startswith("https://")
        if about.archive is not None:
            assert about.archive_file.endswith(".zip")
            assert about.archive.url.startswith("https://")
            if about.archive.digest is not None:
                algorithm, _, digest = about.archive.digest.partition(":")
                assert len(bytes.fromhex(digest)) == {"md5": 16, "sha256": 32}[algorithm]


def test_a_grid_that_is_a_little_off_takes_the_scans(copy: Path, tmp_path: Path) -> None:
    file = copy / "labelsTr" / "word_0002.nii.gz"
    labels = read_image(copy / "imagesTr" / "word_0002.nii.gz")
    array = np.zeros(GRID.shape_zyx, np.uint8)
    array[3:6, 3:6, 3:6] = 1
    near = Grid(GRID.shape_zyx, GRID.spacing_xyz, tuple(v + 0.01 for v in GRID.origin_xyz), GRID.direction)  # type: ignore[arg-type]
    write_volume(LabelMap(array, near), file)
    result: PrepareResult = prepare("word", tmp_path / "out", copy)
    assert "word_0002" in result.done
    written = result.folder / "labelsTr" / "word_0002.nii.gz"
    assert read_label_map(written).grid.matches(labels.grid, 1e-4)
