"""Kinds of option fields: a word of several, a switch, a number, a window, a name. Each kind checks its values.

What a field says of itself (help, check, flag, step, effect on results) is its metadata; see ``option``.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from medlsam.errors import UsageError
from medlsam.windows import WINDOWS

#: The steps of inference in order; the last one writes what a run found. Each needs its own options and those of the
#: steps before it.
Step = Literal["templates", "locate", "segment", "write"]
STEPS: tuple[Step, ...] = get_args(Step)


@dataclass(frozen=True, kw_only=True)
class Checked:
    """Base of values whose fields are options: checks each of them where the value is made.

    Attributes:
        step: first step that needs its options, unless an option names its own.
    """

    step: ClassVar[Step] = "templates"

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            if "check" in item.metadata:
                checked = item.metadata["check"](item.name, getattr(self, item.name))
                object.__setattr__(self, item.name, checked)


def option(
    default: Any,
    help_text: str,
    check: Callable[[str, Any], Any],
    *,
    metavar: str | None = None,
    flag: type = str,
    step: Step | None = None,
    affects_result: bool = True,
) -> Any:
    """A dataclass field that is an option.

    Args:
        default: its value where nobody gives one.
        help_text: help of its flag.
        check: gets name and value; returns the value to keep, or raises ``UsageError``.
        metavar: placeholder of the value in the help.
        flag: type of the flag's value.
        step: first step that needs the option; None for that of the value that holds it.
        affects_result: False only if no value of it can change a result: whatever it is, a finished scan is
            not done again.
    """
    metadata = {"help": help_text, "check": check, "metavar": metavar, "flag": flag, "step": step}
    return dataclasses.field(default=default, metadata={**metadata, "affects_result": affects_result})


def word(choices: tuple[str, ...], help_text: str) -> Any:
    """An option that is one of several words, by default the first."""

    def check(name: str, value: object) -> str:
        return choice(name, value, choices)

    return option(choices[0], help_text, check, metavar="|".join(choices))


def switch(default: bool, help_text: str) -> Any:
    """An option that is on or off."""

    def check(name: str, value: object) -> bool:
        if not isinstance(value, bool):
            raise mistyped(name, value, "true or false")
        return value

    return option(default, help_text, check, flag=bool)


def number(
    default: float, help_text: str, metavar: str, words: str, allowed: Callable[[float], bool], **more: Any
) -> Any:
    """An option that is a finite number. ``words`` says what ``allowed`` checks ("be 0 or more")."""

    def check(name: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise mistyped(name, value, "a number")
        if not allowed(value):
            raise UsageError(f"{name} must {words}, got {value:g}")
        return float(value)

    return option(default, help_text, check, metavar=metavar, flag=float, **more)


def hu_window(words: tuple[str, ...], help_text: str) -> Any:
    """An option that is one of several words, by default the first, or a window of HU.

    The window is a name of ``medlsam.windows``, which becomes its lowest and highest HU, ``LOW,HIGH``, or two numbers.
    """

    def check(name: str, value: object) -> str | tuple[float, float]:
        if isinstance(value, str) and "," not in value:
            word = choice(name, value, (*words, *WINDOWS))
            return (WINDOWS[word].low, WINDOWS[word].high) if word in WINDOWS else word
        try:
            low, high = map(float, value.split(",") if isinstance(value, str) else value)  # type: ignore[call-overload]
        except (TypeError, ValueError) as error:
            wanted = f"{', '.join((*words, *WINDOWS))}, or the lowest and the highest HU (such as -1350,150)"
            raise mistyped(name, value, wanted) from error
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise UsageError(f"{name}: the lowest HU must be below the highest, got {low:g} and {high:g}")
        return (low, high)

    return option(words[0], help_text, check, metavar="|".join((*words, "NAME", "LOW,HIGH")))


def name_or_path(
    default: str | None, help_text: str, metavar: str, wanted: str = "a name or a path", **more: Any
) -> Any:
    """An option that is a name or a path, kept as text; it may be None if its default is."""

    def check(name: str, value: object) -> str | None:
        if value is None and default is None:
            return None
        if not isinstance(value, str | Path) or not str(value):
            raise mistyped(name, value, wanted)
        return str(value)

    return option(default, help_text, check, metavar=metavar, **more)


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


def mistyped(name: str, value: object, wanted: str) -> UsageError:
    """The error for a value of the wrong type."""
    return UsageError(f"{name}: {wanted} is needed, got {value!r}")
