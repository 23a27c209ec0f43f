"""The options of inference: where they come from, what is refused, and what a result depends on."""

import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from medlsam.errors import UsageError
from medlsam.option_fields import STEPS
from medlsam.options import (
    InferenceOptions,
    LabelMapOptions,
    LocateOptions,
    PromptOptions,
    option_fields,
    read_options,
)
from medlsam.output_options import OutputOptions


def written(folder: Path, text: str) -> Path:
    path = folder / "options.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_flags_win_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    path = written(tmp_path, "prompts: wpl\nmargin-mm: 3\norgans: [liver, spleen]\n")
    options = read_options(path, {"prompts": "spl", "search": None})
    assert options == InferenceOptions(
        locate=LocateOptions(organs=("liver", "spleen")), prompt=PromptOptions(prompts="spl", margin_mm=3.0)
    )


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
        (
            "format: niftii",
            "format: 'niftii' is unknown .*did you mean 'nifti'.*nifti, dicom-seg, rtstruct, slicer",
        ),
        ("format: [nifti, 3]", "format: 3 is unknown"),
        ("format: []", "format: the list is empty"),
        ("format: 5", "format: a list of formats is needed, got 5"),
        ("per_structure: 1", "per_structure: true or false"),
        ("reference_series: 5", "reference_series: a folder is needed, got 5"),
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
    assert LocateOptions(organs="liver, spleen,liver,").organs == ("liver", "spleen")  # type: ignore[arg-type]


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


def test_every_option_has_help_for_its_flag() -> None:
    assert all(item.metadata["help"] for item in option_fields().values())


def test_parts_are_checked_where_they_are_made() -> None:
    with pytest.raises(UsageError, match="margin_mm must be 0 or more"):
        PromptOptions(margin_mm=-1)
    with pytest.raises(UsageError, match="threshold must lie between"):
        LabelMapOptions(threshold=1)
    with pytest.raises(UsageError, match="seed: a whole number"):
        LocateOptions(seed=-1)


def test_a_window_is_a_word_or_a_pair() -> None:
    given = ("auto", "model", "-1350,150", [-1350, 150], (-1350.0, 150), "lung-wide")
    values = [PromptOptions(window=value).window for value in given]
    assert values == ["auto", "model", *[(-1350.0, 150.0)] * 4]
    for wrong, told in (
        ("lungs", r"'lungs' is unknown \(did you mean 'lung'"),
        ("1,2,3", "lowest and the highest HU"),
        ("150,-1350", "must be below"),
        ((0, math.inf), "must be below"),
        (3, "lowest and the highest HU"),
    ):
        with pytest.raises(UsageError, match=told):
            PromptOptions(window=wrong)


def test_options_are_changed_by_flat_names() -> None:
    options = InferenceOptions.of(prompts="wpl", seed=3, device="cpu")
    changed = options.replace(margin_mm=2, organs=["liver"], cache=Path("kept"))
    assert (changed.prompt.prompts, changed.prompt.margin_mm) == ("wpl", 2)
    assert (changed.locate.seed, changed.locate.organs) == (3, ("liver",))
    assert (changed.device, changed.cache) == ("cpu", "kept")
    assert changed.replace() == changed != options
    assert InferenceOptions.of(**changed.to_dict()) == changed
    assert changed.replace(organs=None).locate.organs is None
    with pytest.raises(UsageError, match=r"unknown option 'margin' \(did you mean 'margin_mm'"):
        options.replace(margin=2)


# --- what a result depends on

#: An other value of each option. An option without one fails the tests below, so that none is forgotten.
OTHER: dict[str, Any] = {
    "organs": ("liver",),
    "search": "random-start",
    "seed": 1,
    "localizer": "published",
    "weights": "medlam.pth",
    "segmenter": "medsam_vit_b",
    "prompts": "wpl",
    "margin_mm": 2.0,
    "shrink": 0.9,
    "center_point": True,
    "shape_prompt": True,
    "zoom": 2.0,
    "window": (-1350.0, 150.0),
    "axes": "three",
    "propagate": False,
    "threshold": 0.4,
    "components": "all",
    "overlaps": "order",
    "device": "cuda",
    "precision": "float32",
    "cache": "kept",
    "cache_gb": 1.0,
    "format": ("nifti", "rtstruct"),
    "per_structure": True,
    "reference_series": "/series",
}
#: The only ones that cannot change a result; why not is said beside each field.
WITHOUT_EFFECT = {"localizer", "weights", "segmenter", "device", "cache", "cache_gb"}
#: The only ones that say how the results are written, so that evaluation has none of them.
OF_WRITING = {"format", "per_structure", "reference_series"}
#: The only ones that localization depends on.
OF_LOCALIZATION = {"organs", "search", "seed", "precision"}


def test_the_flat_value_has_every_field() -> None:
    parts = (InferenceOptions, LocateOptions, PromptOptions, LabelMapOptions, OutputOptions)
    holders = {"locate", "prompt", "label_map", "output"}
    names = {item.name for part in parts for item in fields(part)} - holders
    assert set(OTHER) == names == set(InferenceOptions().to_dict()) == set(option_fields())


@pytest.mark.parametrize("name", list(option_fields()))
def test_every_option_counts_unless_it_is_marked(name: str) -> None:
    # Another localizer first: weights go with one of them only.
    options = InferenceOptions.of(localizer="published") if name == "weights" else InferenceOptions()
    changed = options.replace(**{name: OTHER[name]})
    assert changed != options
    counting = set(OTHER) - WITHOUT_EFFECT
    for until, counts in (
        ("write", counting),
        ("segment", counting - OF_WRITING),
        ("locate", OF_LOCALIZATION),
    ):
        same = changed.result_fields(until) == options.result_fields(until)  # type: ignore[arg-type]
        assert same == (name not in counts), until


def test_each_step_has_the_options_of_those_before() -> None:
    templates, locate, segment, write = (set(option_fields(step)) for step in STEPS)
    assert templates == {"organs", "localizer", "weights", "device", "precision"}
    assert locate == templates | {"search", "seed"}
    assert segment == set(OTHER) - OF_WRITING
    assert write == set(OTHER)
