"""Segment the open CT in 3D Slicer with medlsam, move the boxes, and segment again.

The module calls the command line of medlsam, which lives in a Python of its own. What needs no Slicer is in
``medlsam_slicer.medlsam_command``.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import ctk
import qt
import slicer
from medlsam_slicer import medlsam_command as command
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

#: Says of which volume a node is.
OF_VOLUME = "MedLSAM.Volume"
_POLL_MS = 200


class MedLSAM(ScriptedLoadableModule):
    """What Slicer's list of modules shows."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = "MedLSAM"
        self.parent.categories = ["Segmentation"]
        self.parent.dependencies = []
        self.parent.contributors = ["The medlsam developers"]
        self.parent.helpText = (
            "Finds the structures of a few template CT scans in the chosen CT and segments them. Move the boxes and "
            "segment again where one is wrong. Needs the program medlsam in a Python of its own."
        )
        self.parent.acknowledgementText = ""


class MedLSAMWidget(ScriptedLoadableModuleWidget):
    """The panel: what to segment with what, two buttons, and what the program says."""

    def setup(self):
        """Build the panel."""
        ScriptedLoadableModuleWidget.setup(self)
        self.logic = MedLSAMLogic()
        box = ctk.ctkCollapsibleButton()
        box.text = "Segment"
        self.layout.addWidget(box)
        form = qt.QFormLayout(box)

        self.volume = slicer.qMRMLNodeComboBox()
        self.volume.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        self.volume.addEnabled = self.volume.removeEnabled = self.volume.noneEnabled = False
        self.volume.setMRMLScene(slicer.mrmlScene)
        form.addRow("CT:", self.volume)
        self.support = self._path("Support", "A .medlsam file or a templates folder")
        form.addRow("Templates:", self.support)
        self.structures = qt.QLineEdit()
        self.structures.setToolTip("Names between commas; all of the templates' where this is empty")
        form.addRow("Structures:", self.structures)
        self.device = qt.QComboBox()
        self.device.addItems(["auto", "cpu", "cuda", "mps"])
        form.addRow("Device:", self.device)
        self.program = self._path("Program", "The program medlsam; empty: the one on PATH")
        form.addRow("Program:", self.program)

        self.segment = self._button(form, "Segment", self.on_segment)
        self.again = self._button(form, "Segment again in the moved boxes", self.on_again)
        self.cancel = self._button(form, "Cancel", self.on_cancel)
        self.log = qt.QPlainTextEdit()
        self.log.readOnly = True
        form.addRow(self.log)
        self.layout.addStretch(1)

        self.timer = qt.QTimer()
        self.timer.setInterval(_POLL_MS)
        self.timer.connect("timeout()", self.on_timer)
        self._running(False)

    def cleanup(self):
        """Slicer ends or reloads the module."""
        self.timer.stop()
        self.logic.close()

    def _path(self, key, tip):
        edit = ctk.ctkPathLineEdit()
        edit.filters = ctk.ctkPathLineEdit.Files | ctk.ctkPathLineEdit.Dirs | ctk.ctkPathLineEdit.Readable
        edit.currentPath = qt.QSettings().value(f"MedLSAM/{key}") or ""
        edit.connect(
            "currentPathChanged(QString)", lambda path: qt.QSettings().setValue(f"MedLSAM/{key}", path)
        )
        edit.setToolTip(tip)
        return edit

    def _button(self, form, text, call):
        button = qt.QPushButton(text)
        button.connect("clicked(bool)", call)
        form.addRow(button)
        return button

    def _running(self, running):
        self.segment.enabled = self.again.enabled = not running
        self.cancel.enabled = running

    def on_segment(self, _checked=False):
        """Locate and segment."""
        self._start(in_boxes=False)

    def on_again(self, _checked=False):
        """Segment in the boxes of the scene."""
        self._start(in_boxes=True)

    def on_cancel(self, _checked=False):
        """End the program."""
        self.logic.cancel()

    def _start(self, in_boxes):
        self.log.setPlainText("")
        try:
            words = self.logic.start(
                self.volume.currentNode(),
                self.support.currentPath,
                structures=command.split_names(self.structures.text),
                device=self.device.currentText,
                program=self.program.currentPath,
                in_boxes=in_boxes,
            )
        except (command.CommandError, OSError) as error:
            slicer.util.errorDisplay(str(error))
            return
        self.log.appendPlainText(" ".join(words))
        self._running(True)
        self.timer.start()

    def on_timer(self):
        """Show new lines; load the results at the end."""
        lines, exit_code = self.logic.poll()
        for line in lines:
            self.log.appendPlainText(line)
        if exit_code is None:
            return
        self.timer.stop()
        self._running(False)
        if self.logic.cancelled:
            self.log.appendPlainText("Cancelled.")
            return
        try:
            result = self.logic.load(exit_code)
        except command.CommandError as error:
            slicer.util.errorDisplay(str(error))
            return
        for line in command.summary(result):
            self.log.appendPlainText(line)


class MedLSAMLogic(ScriptedLoadableModuleLogic):
    """Export, run, load; usable without the panel."""

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        self.running = None
        self.cancelled = False
        self.volume = None
        self.output = None
        self.structures = ()
        self._folder = None

    def start(self, volume, support, structures=(), device="auto", program="", in_boxes=False):
        """Start the program on a volume.

        Args:
            volume: a scalar volume node, CT in HU.
            support: a template file or a templates folder.
            structures: only these.
            device: where the networks run.
            program: of medlsam; the one on PATH where empty.
            in_boxes: segment in the ROI nodes that are called like structures, instead of locating.

        Returns:
            The command, word by word.
        """
        if volume is None:
            raise command.CommandError("Choose a CT.")
        found = command.find_program(program)
        # Of the first run, the boxes' names are known; a run in boxes is a further one over the same export.
        self.close()
        self._folder = tempfile.mkdtemp(prefix="medlsam-slicer-")
        image = os.path.join(self._folder, f"{command.CASE}.nii.gz")
        output, boxes = Path(self._folder) / "out", None
        if in_boxes:
            boxes = Path(self._folder) / "boxes" / command.CASE / "boxes.mrk.json"
            self._save_boxes(volume, boxes)
        words = command.segment_command(
            found, support, image, output, structures=structures, device=device, boxes=boxes
        )
        if not slicer.util.saveNode(volume, image):
            raise command.CommandError(f"The volume {volume.GetName()} could not be saved as {image}.")
        self.volume, self.output = volume, output
        self.cancelled = False
        self.running = command.Run(slicer.util.launchConsoleProcess(words))
        return words

    def _save_boxes(self, volume, target):
        """Save the ROI nodes of a volume; nodes that somebody drew belong to whatever volume is segmented."""
        saved = []
        for number, node in enumerate(slicer.util.getNodesByClass("vtkMRMLMarkupsROINode")):
            if (node.GetAttribute(OF_VOLUME) or volume.GetID()) != volume.GetID():
                continue
            if self.structures and node.GetName() not in self.structures:
                continue
            path = Path(self._folder) / "rois" / f"{number}.mrk.json"
            path.parent.mkdir(exist_ok=True)
            slicer.util.saveNode(node, str(path))
            saved.append((node.GetName(), path))
        command.write_boxes(saved, target)

    def poll(self):
        """New lines of the program, and its exit code once it has ended."""
        return self.running.poll() if self.running is not None else ([], None)

    def cancel(self):
        """End the program, if it runs."""
        if self.running is not None:
            self.cancelled = True
            self.running.cancel()

    def load(self, exit_code):
        """Load what the program wrote, in place of what an earlier run of this volume gave.

        Returns:
            What it left.
        """
        result = command.read_result(self.output, exit_code, self.running.lines)
        self.structures = result.structures
        self._remove_old()
        before = {node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLNode")}
        slicer.util.loadSegmentation(str(result.segmentation))
        for path in result.markups:
            slicer.util.loadMarkups(str(path))
        for node in slicer.util.getNodesByClass("vtkMRMLNode"):
            if node.GetID() in before or not node.IsA("vtkMRMLTransformableNode"):
                continue
            node.SetAttribute(OF_VOLUME, self.volume.GetID())
            # The volume was saved without its transform.
            node.SetAndObserveTransformNodeID(self.volume.GetTransformNodeID())
            if node.IsA("vtkMRMLSegmentationNode"):
                node.SetName(f"{self.volume.GetName()} MedLSAM")
        return result

    def _remove_old(self):
        for kind in ("vtkMRMLSegmentationNode", "vtkMRMLMarkupsNode"):
            for node in slicer.util.getNodesByClass(kind):
                if node.GetAttribute(OF_VOLUME) == self.volume.GetID():
                    slicer.mrmlScene.RemoveNode(node)

    def close(self):
        """End the program and remove its files; what was loaded stays."""
        self.cancel()
        self.running = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


class MedLSAMTest(ScriptedLoadableModuleTest):
    """Slicer's own self-test: the parts that need no program and no templates."""

    def setUp(self):
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self):  # noqa: N802 (Slicer's name)
        """Run all tests."""
        self.setUp()
        self.test_errors_are_told()

    def test_errors_are_told(self):
        """A wrong call is an error with a reason, before anything starts."""
        logic = MedLSAMLogic()
        volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
        for arguments, words in (
            ((None, "x"), "Choose a CT"),
            ((volume, "x", (), "auto", "no such program"), "was not found"),
        ):
            with self.assertRaises(command.CommandError) as caught:  # noqa: PT027 (no pytest in Slicer)
                logic.start(*arguments)
            self.assertIn(words, str(caught.exception))  # noqa: PT009
        self.delayDisplay("Test passed")
