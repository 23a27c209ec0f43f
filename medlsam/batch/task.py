"""The task of a run over many scans, and the fingerprint of everything that its results depend on."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from medlsam._version import __version__
from medlsam.batch.output import digest
from medlsam.localize.templates.template_set import TemplateSet
from medlsam.option_fields import Step
from medlsam.options import InferenceOptions
from medlsam.pipeline.model import MedLSAM
from medlsam.runtime.stopwatch import Stopwatch
from medlsam.volume import Image
from medlsam.weights import sha256_of


@dataclass(frozen=True)
class ScanResult:
    """What the work on one scan gives besides its files: warnings, and rows of ``statistics.csv``."""

    warnings: tuple[str, ...] = ()
    statistics: Sequence[dict[str, Any]] = ()


Command = Literal["segment", "localize"]

#: Each command's last step: only the options up to there count.
_LAST_STEP: dict[str, Step] = {"segment": "write", "localize": "locate"}


@dataclass(frozen=True)
class Run:
    """What a run is to do, whatever the scans are.

    Attributes:
        command: ``segment`` or ``localize``.
        model: the loaded networks.
        templates: what to look for.
        options: how.
        work: does it for one scan: the run, the scan, its name, the folder for its files, a stopwatch. A function
            of a module, so that it can be named to another process.
        boxes: where given boxes lie, absolute (see ``given_boxes``); None where structures are located.
    """

    command: Command
    model: MedLSAM
    templates: TemplateSet
    options: InferenceOptions
    work: Work
    boxes: Path | None = None

    def weights(self) -> dict[str, dict[str, str]]:
        """``name`` and ``sha256`` of the networks that the command needs, without loading them."""
        weights = {"localizer": self.model.localizer_weights}
        if self.command == "segment":
            weights["segmenter"] = self.model.segmenter_weights
        return weights

    def load(self) -> None:
        """Load what is loaded late, so that weights that do not load are no fault of a scan.

        Raises:
            WeightsError: the segmenter cannot be loaded.
        """
        if self.command == "segment":
            _ = self.model.segmenter

    def description(self) -> dict[str, Any]:
        """The head of ``run.json``."""
        boxes = {} if self.boxes is None else {"boxes": str(self.boxes)}
        return {
            "version": __version__,
            "command": self.command,
            "options": self.options.to_dict(),
            "weights": self.weights(),
            "templates": {
                "source": self.templates.source,
                "sha256": _templates_digest(self.templates),
                "organs": list(self.templates.structures),
            },
            "device": str(self.model.device),
            **boxes,
        }

    def result_options(self, description: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a description, of this run or an earlier one, that can change a result of the command."""
        names = self.options.result_fields(until=_LAST_STEP[self.command])
        return {name: description["options"][name] for name in names}

    def shared(self, description: Mapping[str, Any]) -> str:
        """Fingerprint of all that every scan's result depends on.

        Args:
            description: of this run, or the head of an earlier one's ``run.json``.
        """
        options = self.result_options(description)
        hashes = {kind: entry["sha256"] for kind, entry in description["weights"].items()}
        templates = description["templates"]["sha256"]
        # In given boxes or not; which boxes is in each scan's own part.
        given = [] if description.get("boxes") is None else ["boxes"]
        return digest([description["version"], self.command, options, hashes, templates, *given])


Work = Callable[[Run, Image, str, Path, Stopwatch], ScanResult]


def _templates_digest(templates: TemplateSet) -> str:
    """sha256 of the templates' file, whether or not they were read from one."""
    with tempfile.TemporaryDirectory(prefix="medlsam-") as folder:
        templates.save(Path(folder) / "templates.medlsam")
        return sha256_of(Path(folder) / "templates.medlsam")
