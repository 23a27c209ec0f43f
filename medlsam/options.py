"""The options of inference, declared once: an option is one field below, and nothing else lists it.

A field says its default, its help text and choices (the flags of the command line are made from them), which
values are allowed, and whether it can change a result (the fingerprint of a run is made from those that can).
``InferenceOptions`` holds four smaller values, one for each step; whoever does that step gets it whole. People
see them flat: flags, one YAML file, keyword arguments and ``run.json`` use the names of the fields alone.

No torch here, so that the command line can make its flags at once.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medlsam.errors import UsageError
from medlsam.option_fields import (
    STEPS,
    Checked,
    Step,
    hu_window,
    mistyped,
    name_or_path,
    near,
    number,
    option,
    switch,
    word,
)
from medlsam.output_options import OutputOptions

SEARCHES = ("consensus", "random-start")
PRECISIONS = ("auto", "float32", "bfloat16")


def _check_seed(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise mistyped(name, value, "a whole number, 0 or more")
    return value


def _check_organs(name: str, value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, Iterable):
        raise mistyped(name, value, "a list of names")
    names = []
    for part in parts:
        if not isinstance(part, str):
            raise mistyped(name, value, "a list of names")
        names += [part.strip()] if part.strip() else []
    if not names:
        raise UsageError(
            f"{name}: the list is empty; leave it out to look for all structures of the templates"
        )
    return tuple(dict.fromkeys(names))


@dataclass(frozen=True, kw_only=True)
class LocateOptions(Checked):
    """Which structures are looked for, and how.

    Raises:
        UsageError: a value has the wrong type or is out of range.
    """

    step = "locate"

    organs: tuple[str, ...] | None = option(
        None,
        "Structures to look for, comma-separated; all of the templates' by default.",
        _check_organs,
        metavar="A,B",
        step="templates",
    )
    search: str = word(SEARCHES, "How to search; random-start is the paper's mode.")
    seed: int = option(
        0, "Of the random starts; each scan has its own stream.", _check_seed, metavar="N", flag=int
    )


@dataclass(frozen=True, kw_only=True)
class PromptOptions(Checked):
    """Which prompts the segmenter gets for a located structure, and how masks spread from slice to slice.

    What each is worth is printed by ``benchmarks/segment/prompt_policies.py``.

    Raises:
        UsageError: a value has the wrong type or is out of range.
    """

    step = "segment"

    prompts: str = word(
        ("profile", "spl", "wpl"),
        "Box of each slice: the templates' profile, slabs along z (spl), or one box (wpl).",
    )
    margin_mm: float = number(
        1.0,
        "Added to every side of each slice's box, mm; 0 or more.",
        "MM",
        "be 0 or more",
        lambda mm: mm >= 0,
    )
    shrink: float = number(
        1.0,
        "Scale every slice's box by this about its centre; 0.7 keeps 70 %, at most 1.",
        "FACTOR",
        "be above 0 and at most 1",
        lambda factor: 0 < factor <= 1,
    )
    center_point: bool = switch(
        False, "Also give the centre of each box as a point (models that take points)."
    )
    shape_prompt: bool = switch(
        False, "Also give the templates' mean shape, in the located box, as mask prompt."
    )
    zoom: float = number(
        0.0,
        "Whole-slice models look at a crop so many times as large as the box; 0: at whole slices.",
        "TIMES",
        "be 0 (whole slices) or at least 1 (the box itself)",
        lambda times: times == 0 or times >= 1,
    )
    window: str | tuple[float, float] = hu_window(
        ("auto", "model"),
        "HU that whole-slice models are shown: by what lies in the structure, the model's own, a named window (lung, "
        "abdomen, mediastinum, bone, liver, ...), or a pair.",
    )
    axes: str = word(
        ("axial", "three"),
        "Segment axial slices, or coronal and sagittal ones as well and take the vote (three).",
    )
    propagate: bool = switch(
        True, "Hand masks on from the most certain slice to its neighbours, until they end."
    )


@dataclass(frozen=True, kw_only=True)
class LabelMapOptions(Checked):
    """How the structures' probabilities become one label map.

    Raises:
        UsageError: a value has the wrong type or is out of range.
    """

    step = "segment"

    threshold: float = number(
        0.5,
        "Probability from which a voxel belongs to a structure.",
        "P",
        "lie between 0 and 1",
        lambda threshold: 0 < threshold < 1,
    )
    components: str = word(
        ("templates", "largest", "all"),
        "Connected parts to keep of each structure: as many as in the templates, the largest, or all.",
    )
    overlaps: str = word(
        ("probability", "order"),
        "Where structures overlap: the more probable one, or the later one in order, as the paper.",
    )


@dataclass(frozen=True, kw_only=True)
class InferenceOptions(Checked):
    """How structures are located and segmented: which networks run, and the options of each step.

    ``InferenceOptions.of(margin_mm=2, seed=1)`` makes one from flat names, ``options.replace(margin_mm=2)`` a
    changed one.

    Attributes:
        locate: which structures are looked for, and how.
        localizer: network that locates; a known name or a file.
        weights: checkpoint for the localizer ``published``.
        segmenter: network that segments; a known name or a file.
        prompt: which prompts the segmenter gets.
        label_map: how its masks become one label map.
        output: which files a run writes.
        device: where the networks run.
        precision: number format of the networks.
        cache: folder that keeps whole-slice models' embeddings; in memory where None.
        cache_gb: largest size of that folder, GB.

    Raises:
        UsageError: a value has the wrong type or is out of range, or ``weights`` with another localizer.
    """

    locate: LocateOptions = LocateOptions()
    # The sha256 of the networks' weights counts in place of the three names, in whichever folder the files lie.
    localizer: str = name_or_path(
        "medlam-tiny", "Localizer: a known name or a file.", "NAME|FILE", affects_result=False
    )
    weights: str | None = name_or_path(
        None,
        "With --localizer published: the checkpoint of the paper's network (medlam.pth).",
        "FILE",
        "a path",
        affects_result=False,
    )
    segmenter: str = name_or_path(
        "sam-tiny", "Segmenter: a known name or a file.", "NAME|FILE", step="segment", affects_result=False
    )
    prompt: PromptOptions = PromptOptions()
    label_map: LabelMapOptions = LabelMapOptions()
    # Frozen, so all may share one.
    output: OutputOptions = OutputOptions()  # noqa: RUF009
    # A run may go on on another machine: devices agree up to rounding (the precision, which counts, does not).
    device: str = name_or_path("auto", "auto, cpu, cuda, cuda:N or mps.", "NAME", affects_result=False)
    precision: str = word(
        PRECISIONS, "Of the networks; auto is bfloat16 where the machine is fast at it, else float32."
    )
    # Where embeddings are kept, and how many: they are the same as those made anew.
    cache: str | None = name_or_path(
        None,
        "Keep whole-slice models' embeddings in this folder, for further runs.",
        "DIR",
        "a folder",
        step="segment",
        affects_result=False,
    )
    cache_gb: float = number(
        10.0,
        "The most that the folder of --cache takes up, GB; the oldest go.",
        "GB",
        "be more than 0",
        lambda size: size > 0,
        step="segment",
        affects_result=False,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weights is not None and self.localizer != "published":
            raise UsageError(
                f"weights {self.weights!r} go with the localizer 'published' (the paper's network) only, "
                f"not with {self.localizer!r}: add --localizer published, or give a file of another kind "
                "as --localizer FILE and leave --weights out"
            )

    @classmethod
    def of(cls, **values: Any) -> InferenceOptions:
        """Make options from flat names: ``InferenceOptions.of(prompts="wpl", threshold=0.4)``."""
        return cls().replace(**values)

    def replace(self, **values: Any) -> InferenceOptions:
        """The same options but for those named, by flat names.

        Raises:
            UsageError: an unknown name (with the near matches), or a value that is not allowed.
        """
        changes: dict[str | None, dict[str, Any]] = defaultdict(dict)
        for name, value in values.items():
            if name not in _HOLDERS:
                raise UsageError(
                    f"unknown option {name!r}{near(name, _HOLDERS)}; known are {', '.join(_HOLDERS)}"
                )
            changes[_HOLDERS[name]][name] = value
        own = changes.pop(None, {})
        for part, new in changes.items():
            assert part is not None
            own[part] = dataclasses.replace(getattr(self, part), **new)
        return dataclasses.replace(self, **own) if own else self

    def to_dict(self) -> dict[str, Any]:
        """Flat: option to value, as in the YAML file and in ``run.json``."""
        return {
            name: getattr(self if part is None else getattr(self, part), name)
            for name, part in _HOLDERS.items()
        }

    def result_fields(self, until: Step = "write") -> dict[str, Any]:
        """The options that the results of the steps up to ``until`` depend on, flat."""
        values = self.to_dict()
        wanted = option_fields(until)
        return {name: values[name] for name, item in wanted.items() if item.metadata["affects_result"]}


def _placed() -> dict[str, tuple[str | None, Step, dataclasses.Field[Any]]]:
    found: dict[str, tuple[str | None, Step, dataclasses.Field[Any]]] = {}
    for item in dataclasses.fields(InferenceOptions):
        part = item.default if isinstance(item.default, Checked) else None
        for own in (item,) if part is None else dataclasses.fields(part):
            step = own.metadata["step"] or (InferenceOptions if part is None else part).step
            found[own.name] = (None if part is None else item.name, step, own)
    return found


_PLACED = _placed()
#: Each option's name to the part of ``InferenceOptions`` that holds it; None where that is itself.
_HOLDERS = {name: part for name, (part, _, _) in _PLACED.items()}


def option_fields(until: Step = "write") -> dict[str, dataclasses.Field[Any]]:
    """The options that the steps up to ``until`` need: flat name to field, in order."""
    steps = STEPS[: STEPS.index(until) + 1]
    return {name: item for name, (_, step, item) in _PLACED.items() if step in steps}


def read_options(
    config: str | Path | None = None, flags: Mapping[str, Any] | None = None
) -> InferenceOptions:
    """Defaults, then what the YAML file says, then the flags that were given.

    Args:
        config: a YAML mapping of option names to values.
        flags: option names to values; None stands for a flag that was not given.

    Raises:
        UsageError: the file cannot be read, a key is unknown (with the near matches), or a value is wrong.
    """
    options = InferenceOptions()
    if config is not None:
        values = {str(key).replace("-", "_"): value for key, value in _read_yaml(Path(config)).items()}
        try:
            options = options.replace(**values)
        except UsageError as error:
            raise UsageError(f"{config}: {error}") from error
    return options.replace(**{key: value for key, value in (flags or {}).items() if value is not None})


def _read_yaml(path: Path) -> Mapping[Any, Any]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path}: cannot be read as YAML: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, Mapping):
        raise UsageError(
            f"{path}: holds a {type(content).__name__}; a mapping of options to values is needed"
        )
    return content
