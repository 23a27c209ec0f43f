"""As much of 3D Slicer as the scripted module uses: a scene of nodes, files in and out, and widgets that do nothing."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

#: What an ROI of Slicer says of its type, beside its own class.
_BASES = {
    "vtkMRMLMarkupsROINode": ("vtkMRMLMarkupsNode", "vtkMRMLTransformableNode"),
    "vtkMRMLMarkupsFiducialNode": ("vtkMRMLMarkupsNode", "vtkMRMLTransformableNode"),
    "vtkMRMLSegmentationNode": ("vtkMRMLTransformableNode",),
    "vtkMRMLScalarVolumeNode": ("vtkMRMLTransformableNode",),
    "vtkMRMLStorageNode": (),
}


class Node:
    """A node of the scene."""

    def __init__(self, kind: str, name: str, number: int, content: dict[str, Any] | None = None) -> None:
        self.kind, self.name, self.id, self.content = kind, name, f"{kind}{number}", content or {}
        self.attributes: dict[str, str] = {}
        self.transform: str | None = None

    def IsA(self, kind: str) -> bool:  # noqa: N802
        return kind in (self.kind, *_BASES[self.kind], "vtkMRMLNode")

    def GetID(self) -> str:  # noqa: N802
        return self.id

    def GetName(self) -> str:  # noqa: N802
        return self.name

    def SetName(self, name: str) -> None:  # noqa: N802
        self.name = name

    def GetAttribute(self, key: str) -> str | None:  # noqa: N802
        return self.attributes.get(key)

    def SetAttribute(self, key: str, value: str) -> None:  # noqa: N802
        self.attributes[key] = value

    def GetTransformNodeID(self) -> str | None:  # noqa: N802
        return self.transform

    def SetAndObserveTransformNodeID(self, transform: str | None) -> None:  # noqa: N802
        self.transform = transform


class Scene:
    """The scene, and the functions of ``slicer.util`` that look at it."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.errors: list[str] = []
        self.made = 0

    def add(self, kind: str, name: str, content: dict[str, Any] | None = None) -> Node:
        self.made += 1
        self.nodes.append(Node(kind, name, self.made, content))
        return self.nodes[-1]

    def AddNewNodeByClass(self, kind: str, name: str) -> Node:  # noqa: N802
        return self.add(kind, name)

    def RemoveNode(self, node: Node) -> None:  # noqa: N802
        self.nodes.remove(node)

    def Clear(self) -> None:  # noqa: N802
        self.nodes.clear()

    def of_class(self, kind: str) -> list[Node]:
        return [node for node in self.nodes if node.IsA(kind)]

    def save(self, node: Node, path: str) -> bool:
        if node.kind == "vtkMRMLScalarVolumeNode":
            Path(path).write_bytes(b"a volume")
        else:  # Slicer leaves the name out
            content = {key: value for key, value in node.content.items() if key != "name"}
            Path(path).write_text(json.dumps({"@schema": "v1.0.3.json#", "markups": [content]}))
        return True

    def load_markups(self, path: str) -> None:
        for content in json.loads(Path(path).read_text())["markups"]:
            self.add(f"vtkMRMLMarkups{content['type']}Node", content["name"], content)

    def load_segmentation(self, path: str) -> None:
        self.add("vtkMRMLSegmentationNode", Path(path).name)
        self.add("vtkMRMLStorageNode", "storage")


class _Base:
    def __init__(self, parent: Any = None) -> None:
        self.parent = parent or MagicMock()
        self.layout = MagicMock()

    def setup(self) -> None:
        pass

    def delayDisplay(self, text: str) -> None:  # noqa: N802
        pass


def fake_modules() -> tuple[Scene, dict[str, ModuleType]]:
    """The modules that the scripted module imports, by name, and the scene behind them."""
    import unittest

    scene = Scene()
    slicer, util = ModuleType("slicer"), ModuleType("slicer.util")
    util.saveNode = scene.save  # type: ignore[attr-defined]
    util.getNodesByClass = scene.of_class  # type: ignore[attr-defined]
    util.loadMarkups = scene.load_markups  # type: ignore[attr-defined]
    util.loadSegmentation = scene.load_segmentation  # type: ignore[attr-defined]
    util.errorDisplay = scene.errors.append  # type: ignore[attr-defined]
    util.launchConsoleProcess = lambda words: subprocess.Popen(  # type: ignore[attr-defined]
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    slicer.util, slicer.mrmlScene = util, scene  # type: ignore[attr-defined]
    slicer.qMRMLNodeComboBox = MagicMock  # type: ignore[attr-defined]
    scripted = ModuleType("slicer.ScriptedLoadableModule")
    for name in ("ScriptedLoadableModule", "ScriptedLoadableModuleWidget", "ScriptedLoadableModuleLogic"):
        setattr(scripted, name, type(name, (_Base,), {}))
    test = type("ScriptedLoadableModuleTest", (unittest.TestCase,), {"delayDisplay": _Base.delayDisplay})
    scripted.ScriptedLoadableModuleTest = test  # type: ignore[attr-defined]
    qt, ctk = MagicMock(name="qt"), MagicMock(name="ctk")
    for kind in (qt.QPushButton, ctk.ctkPathLineEdit):  # each call makes another one
        kind.side_effect = lambda *_: MagicMock()
    qt.QSettings.return_value.value.return_value = None
    return scene, {
        "slicer": slicer,
        "slicer.util": util,
        "slicer.ScriptedLoadableModule": scripted,
        "qt": qt,
        "ctk": ctk,
    }
