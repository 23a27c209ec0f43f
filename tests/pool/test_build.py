"""Builds: what is left out when it is read, resumption to the same hash, adding, and processes that are killed."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import numpy as np
import pytest
from typer.testing import CliRunner

from medlsam.cli import app
from medlsam.errors import UsageError
from medlsam.geometry import Grid
from medlsam.io.read import read_image
from medlsam.phantoms import phantom
from medlsam.pool import Pool, Reason, build_pool
from medlsam.pool.body_region import regions
from medlsam.pool.packed_scan import LEVELS_HU, to_codes
from medlsam.pool.preprocess import prepare
from medlsam.volume import Image, resample
from tests.support.data.pool_data import (
    GRID,
    bytes_of,
    left_out,
    write_raw,
)


@pytest.fixture
def raw(make_ct, tmp_path):
    return write_raw(make_ct(GRID), tmp_path / "raw")


def test_what_is_kept_and_what_is_left_out(raw, tmp_path):
    result = build_pool([raw], tmp_path / "pool", spacing_mm=6.0, jobs=0)
    assert left_out(result) == {
        "raw/files/copy.nii.gz": Reason.DUPLICATE,
        "raw/files/case0.nii.gz": Reason.DUPLICATE,
        "raw/dicom/thick": Reason.DOUBLE,
        "raw/bad/cut.nii.gz": Reason.UNREADABLE,
        "raw/bad/shifted.nii.gz": Reason.NOT_HU,
        "raw/bad/slab.nii.gz": Reason.SMALL,
    }
    assert result.failed == ["raw/bad/cut.nii.gz"]
    rows = {row.case: row for row in result.rows}
    assert sorted(rows) == ["case0", "case1", "case2", "thin", "tilted"]
    assert rows["case1"].licence == "CC BY 4.0"
    assert (rows["thin"].licence, rows["thin"].collection) == (None, "raw")
    assert rows["tilted"].notes[0].startswith("gantry tilt of 14.0 degrees taken out")
    assert rows["thin"].study == build_pool([raw], result.folder, keep_doubles=True, jobs=0).rows[-2].study
    assert result.others == 1


def test_crops_are_the_prepared_scan(raw, tmp_path):
    build_pool([raw / "files"], tmp_path / "pool", spacing_mm=6.0, jobs=0)
    pool = Pool(tmp_path / "pool")
    assert len(pool) == 3
    index = [row.case for row in pool.rows].index("case2")
    packed = pool.scan(index)
    scan = read_image(raw / "files" / "case2.nii.gz")
    wanted = resample(scan, packed.grid).array
    # Sums over another grid differ in the last digit: a few voxels may lie on the other side of a step.
    read, step = packed.read().array, LEVELS_HU[to_codes(wanted)]
    assert (read == step).mean() > 0.999
    assert np.abs(read - wanted)[(wanted > -224) & (wanted < 224)].max() <= 2.1
    rng = np.random.default_rng(0)
    crops = [pool.random_crop(rng, (16, 16, 16)) for _ in range(20)]
    assert all(crop.shape == (16, 16, 16) and crop.dtype == np.float32 for crop in crops)
    assert np.max(crops) > 300
    # Larger than the scans: air beyond them.
    assert pool.random_crop(rng, (64, 64, 64)).min() == -1024
    assert pool.damaged() == []
    pool.path(0).write_bytes(b"")
    pool.path(1).unlink()
    assert [line.rpartition(" ")[2] for line in pool.damaged()] == ["damaged", "missing"]


def test_air_is_cropped_and_no_tissue(make_ct):
    grid = Grid((40, 60, 70), (5.0, 5.0, 5.0))
    array = np.full(grid.shape_zyx, -1000, np.int16)
    array[10:30, 20:40, 25:50] = 40
    array[35, 50, 60] = 40  # noise
    array[5:9, 10:12, 60:68] = 40  # an arm
    kept = prepare(Image(array, grid), 5.0)
    assert kept.array.shape == (33, 38, 49)
    assert kept.grid.origin_xyz == (105.0, 30.0, 5.0)
    assert prepare(Image(np.full(grid.shape_zyx, -1000, np.int16), grid), 5.0) is None


def test_again_changes_nothing_and_adding_rewrites_nothing(raw, tmp_path):
    first = build_pool([raw / "files"], tmp_path / "pool", spacing_mm=6.0, jobs=0)
    before = bytes_of(first.folder)
    again = build_pool([raw / "files"], tmp_path / "pool", jobs=0)
    assert (again.sha256, again.added) == (first.sha256, [])
    assert bytes_of(first.folder) == before
    more = build_pool([raw / "dicom"], tmp_path / "pool", jobs=0, collection="more", licence="CC0")
    # The scan that came first stays, though its copy has the earlier name.
    assert left_out(more)["dicom/case0"] is Reason.DUPLICATE
    assert sorted(name.rpartition("-")[0] for name in more.added) == ["thin", "tilted"]
    assert {row.collection for row in more.rows} == {"files", "more"}
    after = bytes_of(first.folder)
    assert {name: after[name] for name in before} == before
    assert set(first.rows) < set(more.rows)
    # A folder that moved is no new scan.
    (raw / "files").rename(raw / "moved")
    assert build_pool([raw / "moved"], tmp_path / "pool", jobs=0).sha256 == more.sha256


def test_wrong_calls(raw, tmp_path):
    build_pool([raw / "files"], tmp_path / "pool", spacing_mm=6.0, jobs=0)
    with pytest.raises(UsageError, match="this pool is of 6 mm, not 3"):
        build_pool([raw], tmp_path / "pool", spacing_mm=3.0)
    with pytest.raises(UsageError, match="holds files, but no pool"):
        build_pool([raw], raw)
    with pytest.raises(UsageError, match="outside 0.5 to 10 mm"):
        build_pool([raw], tmp_path / "new", spacing_mm=30.0)
    with pytest.raises(UsageError, match="holds no pool"):
        Pool(raw)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no scan is found"):
        build_pool([tmp_path / "empty"], tmp_path / "new")
    assert not (tmp_path / "new").exists()


class StoppedError(RuntimeError):
    """Stands for a build that is interrupted."""


@pytest.mark.parametrize("after", [1, 3, 6, 9])
def test_an_interrupted_build_ends_with_the_same_hash(raw, tmp_path, after):
    whole = build_pool([raw], tmp_path / "whole", spacing_mm=6.0, jobs=0)

    def stop(progress):
        if progress.done == after:
            raise StoppedError

    with pytest.raises(StoppedError):
        build_pool([raw], tmp_path / "pool", spacing_mm=6.0, jobs=0, on_progress=stop)
    with pytest.raises(UsageError, match="has not ended"):
        Pool(tmp_path / "pool")
    (tmp_path / "pool" / "sources" / ".tmp-left").write_bytes(b"")
    seen = []
    resumed = build_pool([raw], tmp_path / "pool", jobs=0, on_progress=seen.append)
    assert len(seen) == 11 - after
    assert resumed.sha256 == whole.sha256
    assert (whole.folder / "manifest.jsonl").read_bytes() == (resumed.folder / "manifest.jsonl").read_bytes()
    shards = [{name: data for name, (data, _) in bytes_of(r.folder).items()} for r in (whole, resumed)]
    assert shards[0] == shards[1]
    assert not list(resumed.folder.rglob(".tmp-*"))


def test_interrupted_while_settling(raw, tmp_path, monkeypatch):
    whole = build_pool([raw], tmp_path / "whole", spacing_mm=6.0, jobs=0)

    def stop(*_):
        raise StoppedError

    for step in ("_drop", "_all_left_out", "write_lines", "write_pool_file"):
        with monkeypatch.context() as patch:
            patch.setattr(f"medlsam.pool.deduplicate.{step}", stop)
            with pytest.raises(StoppedError):
                build_pool([raw], tmp_path / "pool", spacing_mm=6.0, jobs=0)
    assert build_pool([raw], tmp_path / "pool", jobs=0).sha256 == whole.sha256


def test_a_build_that_is_killed_goes_on(raw, tmp_path):
    """SIGKILL to the command with a process at work; the process ends with it, and the next call ends the same."""
    whole = build_pool([raw], tmp_path / "whole", spacing_mm=6.0, jobs=0)
    command = [sys.executable, "-c", "from medlsam.cli import main; main()"]
    arguments = [
        "pool",
        "build",
        str(raw),
        "--output",
        str(tmp_path / "pool"),
        "--spacing",
        "6",
        "--jobs",
        "2",
    ]
    build = subprocess.Popen([*command, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "pool").glob("sources/*.json")) and time.monotonic() < deadline:
        time.sleep(0.005)
    build.kill()
    build.wait()
    done = build_pool([raw], tmp_path / "pool", jobs=0)
    assert done.sha256 == whole.sha256


def test_the_command(raw, tmp_path):
    def call(*arguments: object):
        return CliRunner().invoke(app, ["pool", *map(str, arguments)])

    result = call("build", raw, "--output", tmp_path / "pool", "--spacing", 6, "--jobs", 0, "--json")
    assert result.exit_code == 1  # one file is cut off
    document = json.loads(result.stdout)
    assert (document["scans"], document["exit_code"], document["without_licence"]) == (5, 1, 3)
    assert document["left_out"] == {
        "double": 1, "duplicate": 2, "not HU": 1, "too small": 1, "unreadable": 1,
    }  # fmt: skip
    assert "left out, unreadable: 1 (damaged, cut off or malformed)" in result.stderr
    again = call("build", raw / "files", "--output", tmp_path / "pool", "--jobs", 0)
    assert again.exit_code == 0
    assert "0 scans added, 5 in all" in again.stderr
    shown = json.loads(call("show", tmp_path / "pool", "--json").stdout)
    assert shown["sha256"] == document["sha256"]
    assert sum(entry["scans"] for entry in shown["collections"]) == 5
    assert "CC BY 4.0" in call("show", tmp_path / "pool").stdout
    assert call("verify", tmp_path / "pool").exit_code == 0
    next((tmp_path / "pool" / "scans").glob("*/*")).write_bytes(b"")
    assert call("verify", tmp_path / "pool").exit_code == 1
    assert call("build", tmp_path / "none", "--output", tmp_path / "new").exit_code == 2
    assert call("show", raw).exit_code == 2


@pytest.mark.realdata
def test_real_collections(real_ct, tmp_path):
    """A DICOM series and the NIfTI file that was made of it; pictures; regions as the data's README says."""
    result = build_pool([real_ct / "body", real_ct / "dicom", real_ct / "lesions"], tmp_path / "pool", jobs=0)
    reasons = left_out(result)
    assert reasons.pop("dicom/ts_example") is Reason.DUPLICATE
    assert sum("deeplesion" in source for source, r in reasons.items() if r is Reason.NOT_HU) == 6
    assert {r for source, r in reasons.items() if "deeplesion" not in source} == {Reason.LABELS}
    assert len(result.rows) == 28
    seen = {row.source.split("/")[1]: row.regions for row in result.rows}
    assert seen["lidc_0001"][0] == seen["nsclc_lung1_001"][0] == "chest"
    assert seen["ts_example_ct"] == ("abdomen", "pelvis")
    assert "head" in seen["acrin_flt_breast_001_a"]
    assert seen["sts_001"] == ("other",)
    # At most 60 % of int16, over the pool.
    assert sum(row.bytes for row in result.rows) < 0.6 * sum(
        2 * np.prod(row.shape_zyx) for row in result.rows
    )


def test_regions_of_phantoms():
    expected = {"head-neck": ["head", "neck", "chest"], "pelvis": ["pelvis"]}
    for region, names in expected.items():
        scan = prepare(phantom(0, (4.0,) * 3, region).image, 4.0)
        assert regions(scan) == names
