"""A stub model that other processes can have too, and that some scans kill or keep for ever."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from medlsam.pipeline.model import MedLSAM
from tests.support.fakes.stub_model import stub_model


class FakeModel(MedLSAM):
    """A stub that ends its process over scans called ``killer...``, and sleeps over ``sleeper...``."""

    def __reduce__(self) -> Any:
        return fake_model, ()

    def segment(self, *args: Any, **more: Any) -> Any:
        if str(more["case"]).startswith("killer"):
            os._exit(9)
        if str(more["case"]).startswith("sleeper"):
            time.sleep(600)
        return super().segment(*args, **more)


def fake_model(monkeypatch: pytest.MonkeyPatch | None = None) -> FakeModel:
    """The model; without ``monkeypatch`` its stubs stay for the whole process, which is another one's then."""
    model = stub_model(monkeypatch)
    return FakeModel(model.localizer, model.segmenter)
