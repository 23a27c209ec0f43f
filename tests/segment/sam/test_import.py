"""segment-anything with and without torchvision."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from medlsam.errors import UsageError
from medlsam.segment.sam import _import as _sam_import


@pytest.fixture
def fresh_import(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Nothing of segment-anything and torchvision imported; all as before afterwards."""

    def drop() -> None:
        for name in list(sys.modules):
            if name.split(".")[0] in ("segment_anything", "torchvision"):
                del sys.modules[name]

    kept = {k: v for k, v in sys.modules.items() if "segment_anything" in k or k.startswith("torchvision")}
    drop()
    _sam_import.sam_parts.cache_clear()
    yield monkeypatch
    drop()
    for name in [name for name in sys.modules if "segment_anything" in name]:
        del sys.modules[name]
    sys.modules.update(kept)
    _sam_import.sam_parts.cache_clear()


def fake_torchvision(folder: Path, init: str) -> None:
    for place in ("", "transforms", "ops"):
        (folder / "torchvision" / place).mkdir(parents=True, exist_ok=True)
        (folder / "torchvision" / place / "__init__.py").write_text("")
    (folder / "torchvision/__init__.py").write_text(init)
    (folder / "torchvision/transforms/functional.py").write_text("resize = to_pil_image = None")
    (folder / "torchvision/ops/boxes.py").write_text("batched_nms = box_area = None")


def test_the_real_package_is_preferred(fresh_import: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_torchvision(tmp_path, "")
    fresh_import.syspath_prepend(str(tmp_path))
    found = _sam_import.sam_parts()
    assert found.how == "package"
    assert found.modeling is sys.modules["segment_anything.modeling"]


@pytest.mark.parametrize(
    "error", ["RuntimeError('operator torchvision::nms does not exist')", "ImportError('no')"]
)
def test_a_broken_torchvision_is_gone_around(
    fresh_import: pytest.MonkeyPatch, tmp_path: Path, error: str
) -> None:
    fake_torchvision(tmp_path, f"raise {error}")
    fresh_import.syspath_prepend(str(tmp_path))
    found = _sam_import.sam_parts()
    assert found.how == "parts"
    assert error.split("'")[1] in found.reason
    assert {"vit_b", "vit_l", "vit_h"} <= set(found.build_sam.sam_model_registry)
    assert "segment_anything" not in sys.modules  # the user's own import is left alone
    assert "segment_anything.modeling" not in sys.modules


def test_a_missing_package_is_named(fresh_import: pytest.MonkeyPatch) -> None:
    fresh_import.setitem(sys.modules, "segment_anything", None)
    fresh_import.setattr(_sam_import, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="not installed"):
        _sam_import.sam_parts()
