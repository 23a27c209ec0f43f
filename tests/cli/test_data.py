"""``medlsam data``."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from medlsam.data import SOURCES, sources
from medlsam.runtime.http_transfer import Remote
from tests.support.command_line import call, document
from tests.support.data.public_sources import SAMPLES, MakeCt, zipped
from tests.support.web.web_server import Site, serve


def test_data_from_a_copy(tmp_path: Path, make_ct: MakeCt) -> None:
    SAMPLES["amos"](tmp_path / "copy", make_ct)
    result = call("data", "amos", "--from", tmp_path / "copy", "--output", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.stderr
    answer = document(result)
    assert answer["done"] == ["amos_0001", "amos_0008", "amos_0499"]
    assert answer["left_out"] == {"amos_0507": "MR, not CT"}
    assert answer["licence"].startswith("CC-BY-NC")
    for text in ("licence: CC-BY-NC", "cite: Ji et al.", "left out: 1 (MR, not CT)", "3 written"):
        assert text in result.stderr
    assert (Path(answer["folder"]) / "imagesTr" / "amos_0001_0000.nii.gz").is_file()
    again = call("data", "amos", "--from", tmp_path / "copy", "--output", tmp_path / "out")
    assert "0 written, 3 there before" in again.stderr
    assert again.stdout == ""


def test_a_bad_case_is_exit_code_1(tmp_path: Path, make_ct: MakeCt) -> None:
    SAMPLES["word"](tmp_path / "copy", make_ct)
    (tmp_path / "copy" / "imagesTr" / "word_0002.nii.gz").write_bytes(b"no scan")
    result = call("data", "word", "--from", tmp_path / "copy", "--output", tmp_path / "out")
    assert result.exit_code == 1
    assert "failed: word_0002:" in result.stderr
    assert "2 written, 1 failed" in result.stderr


def test_data_fetched_with_its_bars(tmp_path: Path, make_ct: MakeCt, monkeypatch: pytest.MonkeyPatch) -> None:
    SAMPLES["word"](tmp_path / "copy", make_ct)
    content = zipped(tmp_path / "copy", tmp_path / "word.zip").read_bytes()
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    with serve(Site({"/word.zip": content})) as site:
        about = replace(SOURCES["word"], archive=Remote(f"{site.address}/word.zip"), archive_file="word.zip")
        monkeypatch.setattr(sources, "SOURCES", {"word": about})
        result = call("data", "word", "--output", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert "warning: nobody publishes a sum of word.zip" in result.stderr.replace("\n", " ")
    assert "3 written" in result.stderr
    assert (tmp_path / "out" / "downloads" / "word.zip").read_bytes() == content


def test_data_list() -> None:
    found = document(call("data", "--list", "--json"))
    assert list(found) == list(SOURCES)
    assert found["totalsegmentator"]["digest"] == "md5:fe250e5718e0a3b5df4c4ea9d58a62fe"
    assert found["totalsegmentator"]["fetched"]
    assert not found["word"]["fetched"]
    table = call("data", "--list").stdout
    for name in SOURCES:
        assert name in table


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "give a data set and a folder"),
        (("word",), "give a data set and a folder"),
        (("nothing", "--output", "out"), "no public data set is called 'nothing'; there are: openkbp"),
        (("word", "--output", "out"), "medlsam data word --from COPY --output out"),
        (("word", "--output", "out", "--from", "none"), "there is no such folder or zip"),
        (("openkbp", "--output", "out", "--mirror", "x"), "--mirror is 'x'; give the address of a folder"),
    ],
)
def test_a_wrong_call_writes_nothing(
    arguments: tuple[str, ...], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = call("data", *arguments, "--json")
    assert result.exit_code == 2
    assert words in json.loads(result.stdout)["error"]["text"]
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []
