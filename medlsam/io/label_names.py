"""Small tables: structure names by value, lists of cases, whose each scan is, and the window of HU of each scan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from medlsam.errors import MedlsamError, TemplateError, UsageError
from medlsam.io.folders import case_name
from medlsam.windows import HCUCH_WINDOWS, Window, window_of


def read_label_names(path: Path | str) -> dict[int, str]:
    """Value to structure from ``labels.json`` or an nnU-Net ``dataset.json``, written in either direction.

    Returns:
        Without the background (value 0).

    Raises:
        TemplateError: naming the entry that is wrong.
    """
    path = Path(path)
    data = read_json(path, TemplateError)
    table = data.get("labels", data) if isinstance(data, dict) else data
    if not isinstance(table, dict):
        raise TemplateError(f'{path}: expected {{"liver": 1, ...}}, got {type(table).__name__}')
    names: dict[int, str] = {}
    for key, entry in table.items():
        name, value = (key, entry) if isinstance(entry, int) else (entry, key)
        if not isinstance(name, str) or not str(value).isdecimal() or isinstance(value, bool):
            raise TemplateError(
                f'{path}: entry "{key}": {json.dumps(entry)} is neither structure and value nor value and structure; '
                "regions of several values are not supported"
            )
        value = int(value)
        if value == 0:
            continue
        if value > 65535:
            raise TemplateError(f"{path}: {name} has value {value}; values go from 1 to 65535")
        if value in names or name in names.values():
            raise TemplateError(
                f"{path}: {name} or value {value} is there twice; give each structure its own value"
            )
        names[value] = name
    if not names:
        raise TemplateError(f'{path}: no structure is named; write {{"liver": 1, ...}}')
    return names


def read_case_list(spec: Path | str) -> list[str]:
    """Case names from ``FILE.json``, or from the list under a key with ``FILE.json:key``.

    Raises:
        UsageError: the file, the key or the list is missing or wrong.
    """
    text, key = str(spec), None
    if not Path(text).is_file() and ":" in text:
        text, key = text.rsplit(":", 1)
    path = Path(text)
    if not path.is_file():
        raise UsageError(f"{path}: there is no such case list; give FILE.json or FILE.json:key")
    data = read_json(path, UsageError)
    if key is not None:
        if not isinstance(data, dict) or key not in data:
            keys = ", ".join(data) if isinstance(data, dict) else "none"
            raise UsageError(f"{path}: there is no key {key!r}; keys: {keys}")
        data = data[key]
    elif isinstance(data, dict):
        raise UsageError(f"{path}: holds several lists; give one as {path.name}:key, keys: {', '.join(data)}")
    if not isinstance(data, list) or not all(isinstance(name, str) for name in data):
        raise UsageError(f"{spec}: expected a list of case names")
    return data


def read_patients(path: Path | str) -> dict[str, str]:
    """Read whose each scan is.

    Args:
        path: JSON of scan to patient, or the ``cases.json`` of ``medlsam data``, where the source names patients.

    Raises:
        UsageError: the file cannot be read, or names no patient.
    """
    content = read_json(Path(path), UsageError)
    if isinstance(content, dict) and isinstance(content.get("cases"), dict):
        rows = content["cases"].items()
        content = {name: row["patient"] for name, row in rows if isinstance(row, dict) and "patient" in row}
    if not isinstance(content, dict) or not content or not all(map(_is_name, content.values())):
        raise UsageError(
            f'{path}: no patients; expected scan to patient, such as {{"scan_1": "patient_a", ...}}, or a cases.json '
            'with "patient"'
        )
    return {name: str(patient) for name, patient in content.items()}


def _is_name(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


def read_windows_mapping(path: Path | str) -> dict[str, Window]:
    """The window of HU in which each scan is meant to be seen, as the HCUCH data set has it.

    Args:
        path: ``windows_mapping.json``, a scan's file to the name of a window: ``{"001_1.2.3.nii.gz": "lung"}``.

    Returns:
        Case name to window: what HCUCH means by the name, or ours.

    Raises:
        UsageError: it cannot be read, or names a window that is unknown; the file and the entry are named.
    """
    path = Path(path)
    table = read_json(path, UsageError)
    if not isinstance(table, dict):
        raise UsageError(f'{path}: expected {{"<file>": "<window>"}}, got {type(table).__name__}')
    windows: dict[str, Window] = {}
    for file, name in table.items():
        try:
            windows[case_name(Path(file))] = HCUCH_WINDOWS.get(str(name)) or window_of(str(name))
        except UsageError as error:
            raise UsageError(f"{path}: {file}: {error}") from error
    return windows


def read_json(path: Path, kind: type[MedlsamError]) -> Any:
    """The content of a JSON file; ``kind`` is raised where it is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise kind(f"{path}: cannot be read as JSON ({error})") from error
