"""The public interface: a committed snapshot of names and signatures, compared.

A change is fine if it is meant: ``python -m tests.test_api`` writes the snapshot anew.
"""

import dataclasses
import importlib
import inspect
import json
import re
from pathlib import Path
from typing import Any

import medlsam
from tests.support.paths import ROOT

SNAPSHOT = Path(__file__).with_name("api_snapshot.json")


def signature(member: Any) -> str:
    """The signature as written, without the quotes around annotations (every annotation here is a string)."""
    return str(inspect.signature(member)).replace("'", "")


def describe_class(cls: type) -> dict[str, Any]:
    """Bases, fields and public members of a class as far as they are defined here."""
    members: dict[str, str] = {}
    for name in sorted(dir(cls)):
        if name.startswith("_"):
            continue
        member = inspect.getattr_static(cls, name)
        owner = next((base for base in cls.__mro__ if name in vars(base)), cls)
        if not owner.__module__.startswith("medlsam"):
            continue  # what Exception, Protocol and their like bring along
        if isinstance(member, classmethod | staticmethod):
            members[name] = f"{type(member).__name__} {signature(member.__func__)}"
        elif inspect.isfunction(member):
            members[name] = f"method {signature(member)}"
        elif isinstance(member, property) or type(member).__name__ == "cached_property":
            members[name] = "property"
        else:
            members[name] = "attribute"
    described: dict[str, Any] = {"bases": [base.__name__ for base in cls.__bases__], "members": members}
    if dataclasses.is_dataclass(cls) or "__init__" in vars(cls):
        described["call"] = signature(cls)
    return described


def describe(value: Any) -> Any:
    """One public name, as plain JSON values."""
    if inspect.isclass(value):
        return describe_class(value)
    return signature(value) if callable(value) else type(value).__name__


def documented() -> list[str]:
    """The modules that the reference pages document."""
    pages = [
        page for room in ("reference", "lesions") for page in sorted((ROOT / "docs" / room).glob("*.md"))
    ]
    found = {
        name for page in pages for name in re.findall(r"^::: (\S+)", page.read_text(encoding="utf-8"), re.M)
    }
    return sorted(found)


def of_module(name: str) -> dict[str, Any]:
    """The public functions and classes that a module defines."""
    module = importlib.import_module(name)
    own = {key: value for key, value in vars(module).items() if getattr(value, "__module__", None) == name}
    return {key: describe(value) for key, value in sorted(own.items()) if not key.startswith("_")}


def interface() -> dict[str, Any]:
    """Every public name of medlsam, and of the modules that the reference documents."""
    names = {name: describe(getattr(medlsam, name)) for name in sorted(medlsam.__all__)}
    return names | {name: of_module(name) for name in documented()}


def test_interface_is_that_of_the_snapshot() -> None:
    expected = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    found = interface()
    changed = {n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n)}
    assert found == expected, (
        f"the public interface changed ({', '.join(sorted(changed))}); if that is meant: "
        "python -m tests.test_api, and a line in CHANGELOG.md"
    )


def test_interface_is_small() -> None:
    assert len(medlsam.__all__) <= 20
    assert set(medlsam.__all__) <= set(dir(medlsam))


def test_every_public_name_has_a_docstring() -> None:
    without = [n for n in medlsam.__all__ if n != "__version__" and not inspect.getdoc(getattr(medlsam, n))]
    assert without == []


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(interface(), indent=2, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{SNAPSHOT}: {len(medlsam.__all__)} names")
