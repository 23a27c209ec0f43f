"""Files that appear whole or not at all."""

from __future__ import annotations

import json

import pytest

from medlsam.runtime.atomic_files import atomic_path, write_json


def test_atomic_files_are_whole_or_absent(tmp_path):
    target = tmp_path / "new" / "a.json"
    write_json(target, {"name": "Müller", "x": 1.5})
    assert json.loads(target.read_text(encoding="utf-8")) == {"name": "Müller", "x": 1.5}
    with pytest.raises(ValueError, match="JSON"):
        write_json(target, float("nan"))

    def stop():
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            assert temporary.parent == target.parent
            assert temporary.suffix == ".json"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert json.loads(target.read_text(encoding="utf-8"))["x"] == 1.5
    assert [f.name for f in target.parent.iterdir()] == ["a.json"]
