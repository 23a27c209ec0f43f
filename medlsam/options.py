"""The options of inference, declared once: command-line flags and one YAML file fill the same fields.

No torch here, so that the command line can read its flags' defaults and help from the fields at once.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from medlsam.errors import UsageError

PROMPTS = ("profile", "spl", "wpl")
SEARCHES = ("consensus", "random-start")
PRECISIONS = ("auto", "float32", "bfloat16")
AXES = ("axial", "three")
COMPONENTS = ("largest", "all")
OVERLAPS = ("probability", "order")


@dataclass(frozen=True)
class Policy:
    """What a segmenter is asked beside the boxes, and what is made of its answers.

    What each is worth is printed by ``benchmarks/segment/prompt_policies.py``.

    Raises:
        UsageError: a value is of another type, or not one of the choices.
    """

    shrink: float = field(
        default=1.0,
        metadata={"help": "Scale every slice's box by this about its centre; 0.7 keeps 70 %, at most 1."},
    )
    center_point: bool = field(
        default=False,
        metadata={"help": "Also give the centre of each box as a point (models that take points)."},
    )
    shape_prompt: bool = field(
        default=False,
        metadata={"help": "Also give the templates' mean shape, in the located box, as mask prompt."},
    )
    zoom: float = field(
        default=0.0,
        metadata={
            "help": "Whole-slice models look at a crop so many times as large as the box; 0: at whole slices."
        },
    )
    axes: str = field(
        default="axial",
        metadata={
            "help": "Segment axial slices, or coronal and sagittal ones as well and take the vote (three).",
            "choices": AXES,
        },
    )
    propagate: bool = field(
        default=True,
        metadata={"help": "Hand masks on from the most certain slice to its neighbours, until they end."},
    )
    components: str = field(
        default="largest",
        metadata={
            "help": "Keep of each structure its largest connected part, or all parts.",
            "choices": COMPONENTS,
        },
    )
    overlaps: str = field(
        default="probability",
        metadata={
            "help": "Where structures overlap: the more probable one, or the later one in order, as the paper.",
            "choices": OVERLAPS,
        },
    )

    def __post_init__(self) -> None:
        for name, choices in (("axes", AXES), ("components", COMPONENTS), ("overlaps", OVERLAPS)):
            object.__setattr__(self, name, choice(name, getattr(self, name), choices))
        for name in ("center_point", "shape_prompt", "propagate"):
            if not isinstance(getattr(self, name), bool):
                raise _mistyped(name, getattr(self, name), "true or false")
        for name in ("shrink", "zoom"):
            object.__setattr__(self, name, _number(name, getattr(self, name)))
        if not 0 < self.shrink <= 1:
            raise UsageError(f"shrink must be above 0 and at most 1, got {self.shrink:g}")
        if self.zoom != 0 and self.zoom < 1:
            raise UsageError(
                f"zoom must be 0 (whole slices) or at least 1 (the box itself), got {self.zoom:g}"
            )


@dataclass(frozen=True)
class InferenceOptions(Policy):
    """How structures are located and segmented. Each field's ``metadata["help"]`` is its flag's help.

    Raises:
        UsageError: a value is of another type, or not one of the choices.
    """

    localizer: str = field(default="medlam-tiny", metadata={"help": "Localizer: a known name or a file."})
    weights: str | None = field(
        default=None,
        metadata={"help": "With --localizer published: the checkpoint of the paper's network (medlam.pth)."},
    )
    segmenter: str = field(default="sam-tiny", metadata={"help": "Segmenter: a known name or a file."})
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda, cuda:N or mps."})
    precision: str = field(
        default="auto",
        metadata={
            "help": "Of the networks; auto is bfloat16 where the machine is fast at it, else float32.",
            "choices": PRECISIONS,
        },
    )
    organs: tuple[str, ...] | None = field(
        default=None,
        metadata={"help": "Structures to look for, comma-separated; all of the templates' by default."},
    )
    search: str = field(
        default="consensus",
        metadata={
            "help": "How to search; random-start is the paper's mode.",
            "choices": SEARCHES,
        },
    )
    prompts: str = field(
        default="profile",
        metadata={
            "help": "Box of each slice: the templates' profile, slabs along z (spl), or one box (wpl).",
            "choices": PROMPTS,
        },
    )
    margin_mm: float = field(
        default=1.0, metadata={"help": "Added to every side of each slice's box, mm; 0 or more."}
    )
    threshold: float = field(
        default=0.5,
        metadata={"help": "Probability from which a voxel belongs to a structure."},
    )
    seed: int = field(default=0, metadata={"help": "Of the random starts; each scan has its own stream."})
    cache: str | None = field(
        default=None,
        metadata={"help": "Keep whole-slice models' embeddings in this folder, for further runs."},
    )
    cache_gb: float = field(
        default=10.0, metadata={"help": "The most that the folder of --cache takes up, GB; the oldest go."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("localizer", "segmenter", "device"):
            value = getattr(self, name)
            if not isinstance(value, str | Path) or not str(value):
                raise _mistyped(name, value, "a name or a path")
            object.__setattr__(self, name, str(value))
        weights: object = self.weights
        if weights is not None:
            if not isinstance(weights, str | Path) or not str(weights):
                raise _mistyped("weights", weights, "a path")
            object.__setattr__(self, "weights", str(weights))
            if self.localizer != "published":
                raise UsageError(
                    f"weights {self.weights!r} go with the localizer 'published' (the paper's network) only, "
                    f"not with {self.localizer!r}: add --localizer published, or give a file of another kind "
                    "as --localizer FILE and leave --weights out"
                )
        object.__setattr__(self, "organs", _organs(self.organs))
        object.__setattr__(self, "precision", choice("precision", self.precision, PRECISIONS))
        object.__setattr__(self, "search", choice("search", self.search, SEARCHES))
        object.__setattr__(self, "prompts", choice("prompts", self.prompts, PROMPTS))
        cache: object = self.cache
        if cache is not None:
            if not isinstance(cache, str | Path) or not str(cache):
                raise _mistyped("cache", cache, "a folder")
            object.__setattr__(self, "cache", str(cache))
        for name in ("margin_mm", "threshold", "cache_gb"):
            object.__setattr__(self, name, _number(name, getattr(self, name)))
        if self.margin_mm < 0:
            raise UsageError(f"margin_mm must be 0 or more, got {self.margin_mm:g}")
        if self.cache_gb <= 0:
            raise UsageError(f"cache_gb must be more than 0, got {self.cache_gb:g}")
        if not 0 < self.threshold < 1:
            raise UsageError(f"threshold must lie between 0 and 1, got {self.threshold:g}")
        seed: object = self.seed
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise _mistyped("seed", self.seed, "a whole number, 0 or more")

    @property
    def policy(self) -> Policy:
        """The part that says what is asked of the segmenter."""
        return Policy(**{f.name: getattr(self, f.name) for f in fields(Policy)})


def read_options(
    config: str | Path | None = None, flags: Mapping[str, Any] | None = None
) -> InferenceOptions:
    """Defaults, then what the YAML file says, then the flags that were given.

    Args:
        config: a YAML mapping of field names to values.
        flags: field names to values; None stands for a flag that was not given.

    Raises:
        UsageError: the file cannot be read, a key is unknown (with the near matches), or a value is wrong.
    """
    values: dict[str, Any] = {}
    if config is not None:
        values = _checked_keys(_read_yaml(Path(config)), str(config))
        try:
            InferenceOptions(**values)
        except UsageError as error:
            raise UsageError(f"{config}: {error}") from error
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    return InferenceOptions(**values | _checked_keys(given, "the call"))


def choice(name: str, value: object, choices: Iterable[str]) -> str:
    """``value`` if it is one of ``choices``.

    Raises:
        UsageError: it is not; names the option, the value, the near matches and all choices.
    """
    known = tuple(choices)
    if isinstance(value, str) and value in known:
        return value
    raise UsageError(
        f"{name}: {value!r} is unknown{near(str(value), known)}; it is one of {', '.join(known)}"
    )


def near(value: str, known: Iterable[str]) -> str:
    """``" (did you mean 'x'?)"``, or nothing where nothing is near."""
    names = list(known)
    folded = {name.casefold(): name for name in names}
    matches = [folded[m] for m in difflib.get_close_matches(value.casefold(), list(folded), n=3, cutoff=0.6)]
    return f" (did you mean {' or '.join(repr(match) for match in matches)}?)" if matches else ""


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


def _checked_keys(values: Mapping[Any, Any], source: str) -> dict[str, Any]:
    known = [f.name for f in fields(InferenceOptions)]
    checked: dict[str, Any] = {}
    for key, value in values.items():
        name = str(key).replace("-", "_")
        if name not in known:
            raise UsageError(
                f"{source}: unknown option {str(key)!r}{near(name, known)}; known are {', '.join(known)}"
            )
        checked[name] = value
    return checked


def _organs(value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, Iterable):
        raise _mistyped("organs", value, "a list of names")
    names: list[str] = []
    for part in parts:
        if not isinstance(part, str):
            raise _mistyped("organs", value, "a list of names")
        if part.strip() and part.strip() not in names:
            names.append(part.strip())
    if not names:
        raise UsageError(
            "organs: the list is empty; leave it out to look for all structures of the templates"
        )
    return tuple(names)


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _mistyped(name, value, "a number")
    return float(value)


def _mistyped(name: str, value: object, wanted: str) -> UsageError:
    return UsageError(f"{name}: {wanted} is needed, got {value!r}")
