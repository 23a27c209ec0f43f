from dataclasses import fields
from pathlib import Path

import pytest

from medlsam.errors import UsageError
from medlsam.options import InferenceOptions, Policy, read_options


def written(folder: Path, text: str) -> Path:
    path = folder / "options.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_flags_win_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    path = written(tmp_path, "prompts: wpl\nmargin-mm: 3\norgans: [liver, spleen]\n")
    options = read_options(path, {"prompts": "spl", "search": None})
    assert options == InferenceOptions(prompts="spl", margin_mm=3.0, organs=("liver", "spleen"))


def test_no_source_gives_the_defaults(tmp_path: Path) -> None:
    assert read_options() == InferenceOptions() == read_options(written(tmp_path, "# nothing\n"))


def test_an_unknown_key_is_named_with_its_near_matches(tmp_path: Path) -> None:
    path = written(tmp_path, "treshold: 0.4\n")
    with pytest.raises(UsageError, match=r"options\.yaml: unknown option 'treshold' .*'threshold'"):
        read_options(path)
    with pytest.raises(UsageError, match=r"unknown option 'promps' \(did you mean 'prompts'"):
        read_options(None, {"promps": "wpl"})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("prompts: profil", r"options\.yaml: prompts: 'profil' is unknown .*'profile'.*profile, spl, wpl"),
        ("search: 3", "search: 3 is unknown"),
        ("margin_mm: wide", "margin_mm: a number is needed, got 'wide'"),
        ("margin_mm: -1", "0 or more, got -1"),
        ("margin_mm: .nan", "margin_mm: a number"),
        ("threshold: 1", "between 0 and 1"),
        ("threshold: true", "threshold: a number is needed, got True"),
        ("shrink: 0", "above 0 and at most 1, got 0"),
        ("shrink: 1.5", "at most 1, got 1.5"),
        ("zoom: 0.5", "zoom must be 0 .* or at least 1"),
        ("center_point: 1", "center_point: true or false is needed, got 1"),
        ("axes: two", "axes: 'two' is unknown.*axial, three"),
        ("components: larges", "did you mean 'largest'"),
        ("overlaps: 1", "overlaps: 1 is unknown"),
        ("cache: 3", "cache: a folder is needed, got 3"),
        ("cache_gb: 0", "cache_gb must be more than 0"),
        ("seed: 1.5", "seed: a whole number"),
        ("organs: []", "the list is empty"),
        ("organs: [1, 2]", "organs: a list of names"),
        ("organs: 5", "organs: a list of names"),
        ("device: 0", "device: a name"),
        ("- prompts", "holds a list"),
        ("prompts: [", "cannot be read as YAML"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        read_options(written(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.yaml: cannot be read"):
        read_options(tmp_path / "absent.yaml")


def test_organs_may_come_as_one_flag() -> None:
    assert InferenceOptions(organs="liver, spleen,liver,").organs == ("liver", "spleen")  # type: ignore[arg-type]


def test_weights_go_with_published_only(tmp_path: Path) -> None:
    assert InferenceOptions(localizer="published", weights=Path("m.pth")).weights == "m.pth"  # type: ignore[arg-type]
    path = written(tmp_path, "localizer: published\nweights: m.pth\n")
    assert read_options(path, {"weights": "other.pth"}).weights == "other.pth"
    with pytest.raises(
        UsageError, match="'m.pth' go with .* not with 'medlam-tiny': add --localizer published"
    ):
        InferenceOptions(weights="m.pth")
    with pytest.raises(UsageError, match="weights: a path is needed, got 3"):
        read_options(None, {"localizer": "published", "weights": 3})


def test_every_field_has_help_for_its_flag() -> None:
    assert all(field.metadata.get("help") for field in fields(InferenceOptions))


def test_the_policy_is_the_part_for_the_segmenter() -> None:
    options = read_options(None, {"shrink": 0.7, "propagate": True, "axes": "three", "cache": Path("kept")})
    assert options.policy == Policy(shrink=0.7, propagate=True, axes="three")
    assert type(options.policy) is Policy
    assert options.cache == "kept"
