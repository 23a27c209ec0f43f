"""What the notebook's widgets need of ipywidgets and ipyniivue, for tests without either."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any


class Widget:
    """Attributes, and functions that are called when one of them changes to another value."""

    def __init__(self, *args: Any, **traits: Any) -> None:
        self.__dict__.update(
            _watching=[], comm=object(), layout=SimpleNamespace(), value=None, children=(), arguments=args
        )
        if args:
            traits["value"] = args[0]
        for name, value in traits.items():
            setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        before = self.__dict__.get(name)
        self.__dict__[name] = value
        for watched, function in self._watching:
            if watched == name and value != before:
                function({"new": value, "old": before})

    def observe(self, function: Callable[[Any], None], names: str) -> None:
        self._watching.append((names, function))

    def close(self) -> None:
        self.comm = None

    def _repr_mimebundle_(self) -> dict[str, Any]:
        return {"application/vnd.jupyter.widget-view+json": {"model_id": "0"}}


class Volume(Widget):
    img: Any = None


class NiiVue(Widget):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.scene, self.volumes, self.told = SimpleNamespace(), [], []

    def load_volumes(self, volumes: list[Volume]) -> None:
        self.volumes = list(volumes)

    def on_location_change(self, function: Callable[[Any], None]) -> None:
        self.told.append(function)


def fake_ipywidgets() -> ModuleType:
    module = ModuleType("ipywidgets")
    for name in ("HTML", "Dropdown", "IntSlider", "Label", "Image", "HBox", "VBox"):
        setattr(module, name, type(name, (Widget,), {}))
    return module


def fake_ipyniivue() -> ModuleType:
    module = ModuleType("ipyniivue")
    module.__dict__.update(Volume=Volume, NiiVue=NiiVue, LUT=SimpleNamespace)
    return module
