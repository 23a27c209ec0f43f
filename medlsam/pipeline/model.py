"""Localization and segmentation of one scan: the place where the two halves meet.

No label of the scan is read here, and nothing here could: what reads template labels is in ``templates``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medlsam.errors import TemplateError, UsageError
from medlsam.geometry import Box
from medlsam.localize.localizer import load_localizer
from medlsam.localize.locate import locate
from medlsam.localize.templates.template_set import TemplateSet
from medlsam.options import InferenceOptions
from medlsam.pipeline.call_options import call_options, with_absolute_paths
from medlsam.pipeline.decoder import DecoderChoice
from medlsam.pipeline.given_boxes import given_localization
from medlsam.pipeline.scan import case_generator, open_scan
from medlsam.pipeline.segment import segment_located
from medlsam.results import Localization, Segmentation
from medlsam.runtime.stopwatch import Stopwatch
from medlsam.segment.protocol import Segmenter
from medlsam.volume import Image
from medlsam.weights import names as weight_names
from medlsam.weights import resolve

if TYPE_CHECKING:
    from medlsam.localize.localizer import Localizer
    from medlsam.localize.protocol import ScanEmbedding
    from medlsam.localize.search.options import SearchOptions
    from medlsam.pipeline.session.session import Session


class MedLSAM:
    """A localizer and a segmenter, loaded once for any number of scans. Made by ``load``.

    Attributes:
        localizer: finds structures.
        device: where the networks run.
        options: how the networks were loaded, and the defaults of every call.
        source: the same for another process that loads them too, paths absolute; None where the networks were
            handed in ready.
    """

    def __init__(
        self,
        localizer: Localizer,
        segmenter: Segmenter | None = None,
        options: InferenceOptions | None = None,
    ) -> None:
        self.localizer = localizer
        self.device = localizer.device
        self.options = options or InferenceOptions()
        self.source = None if options is None else with_absolute_paths(options)
        self._decoder = DecoderChoice(self.options, str(self.device), segmenter)

    @property
    def segmenter(self) -> Segmenter:
        """The segmenter; loaded when it is first needed, since localization does without."""
        return self._decoder.usual

    @property
    def segmenter_weights(self) -> dict[str, str]:
        """``name`` and ``sha256`` of the segmenter's weights, without loading them.

        Raises:
            WeightsError: there are none.
        """
        return self._decoder.weights

    @property
    def localizer_weights(self) -> dict[str, str]:
        """``name`` and ``sha256`` of the localizer's weights."""
        return {"name": self.localizer.name, "sha256": self.localizer.signature}

    def templates(
        self,
        path: str | Path,
        organs: Iterable[str] | None = None,
        cases: Sequence[str] | str | Path | None = None,
        on_progress: Callable[[str], None] | None = None,
        adapt: bool = False,
    ) -> TemplateSet:
        """Read a template file, or make templates from a folder of labelled scans.

        Args:
            path: a ``.medlsam`` file or a templates folder. For points alone, masks are drawn (``drawn_masks``).
            organs: only these structures.
            cases: only these template scans of a folder: names, or ``FILE.json`` or ``FILE.json:key``.
            on_progress: called with a short text after each template scan of a folder.
            adapt: also adapt the segmenter's decoder to the templates of a folder, one or two minutes; see
                ``medlsam.pipeline.adapt``.

        Raises:
            TemplateError: no usable templates there, an unknown structure or case, or another localizer's templates.
            UsageError: ``cases`` or ``adapt`` together with a file, or ``adapt`` with another segmenter than sam-tiny.
        """
        from medlsam.pipeline.templates import open_templates

        return open_templates(self, path, organs, cases, on_progress, adapt)

    def check(self, templates: TemplateSet) -> None:
        """Refuse templates that another localizer made.

        Raises:
            TemplateError: naming both signatures.
        """
        if templates.signature != self.localizer.signature:
            source = f" of {templates.source}" if templates.source else ""
            raise TemplateError(
                f"the templates{source} were made with another localizer "
                f"(sha256 {templates.signature[:12]}...) than {self.localizer.name} "
                f"(sha256 {self.localizer.signature[:12]}...); build them again with this one"
            )

    def options_of(self, options: InferenceOptions | None = None, **overrides: Any) -> InferenceOptions:
        """Options of one call: those given, else the model's, but for the overrides; the networks are the model's.

        Args:
            options: which networks they name does not matter.
            **overrides: single options by name.

        Raises:
            UsageError: an unknown option, or a network option as override: it would change nothing any more.
        """
        return call_options(self.options, options, overrides)

    def embed(self, image: Image | str | Path) -> ScanEmbedding:
        """One pass of the localizer over a scan (HU, any geometry): the costly step of localization."""
        return self.localizer.embed(open_scan(image, Stopwatch())[0])

    def localize(
        self,
        image: Image | str | Path,
        templates: TemplateSet,
        options: InferenceOptions | None = None,
        *,
        case: str | None = None,
        embedding: ScanEmbedding | None = None,
        stopwatch: Stopwatch | None = None,
        slabs: bool = False,
        search_options: SearchOptions | None = None,
        **overrides: Any,
    ) -> Localization:
        """Find the templates' structures in a scan.

        Args:
            image: a scan in HU, or where it lies (file, DICOM series folder, or zip of one).
            templates: from ``templates``.
            options: what to look for, and how; those of ``load`` where None.
            case: the scan's name; by default that of its path. The random starts depend on it and on the seed
                alone, so that the order of scans does not matter.
            embedding: of this scan, from ``embed``, if it exists already; then no network runs.
            stopwatch: gets the seconds of ``read``, ``embed`` and ``locate``.
            slabs: also locate the slabs along z that ``spl`` prompts need.
            search_options: constants of the search; their defaults where None.
            **overrides: single options by name: ``search="random-start"``, ``organs=["liver"]``, ``seed=1``.

        Raises:
            TemplateError: templates of another localizer, or an unknown structure.
            UsageError: a wrong option, or a path that means several scans.
            VolumeError: the scan cannot be read, or is no CT.
        """
        wanted = self.options_of(options, **overrides).locate
        self.check(templates)
        if wanted.organs is not None:
            templates = templates.select(wanted.organs)
        stopwatch = stopwatch or Stopwatch()
        volume, name = open_scan(image, stopwatch)
        case = case or name
        if embedding is None:
            with stopwatch("embed"):
                embedding = self.localizer.embed(volume)
        with stopwatch("locate"):
            stream = case_generator(wanted.seed, case)
            located = locate(
                embedding, templates, wanted, generator=stream, slabs=slabs, search_options=search_options
            )
        return Localization(case, located, volume)

    def segment(
        self,
        image: Image | str | Path,
        templates: TemplateSet,
        options: InferenceOptions | None = None,
        *,
        case: str | None = None,
        boxes: Mapping[str, Box] | None = None,
        embedding: ScanEmbedding | None = None,
        stopwatch: Stopwatch | None = None,
        **overrides: Any,
    ) -> Segmentation:
        """Find the templates' structures in a scan and segment them.

        Args:
            image: a scan in HU, or where it lies (file, DICOM series folder, or zip of one).
            templates: from ``templates``.
            options: what to look for, and how to segment it; those of ``load`` where None.
            case: see ``localize``.
            boxes: segment in these boxes (structure to box, LPS mm) instead of locating: no localizer runs. Structures
                without one are missing; see ``medlsam.pipeline.given_boxes``.
            embedding: see ``localize``.
            stopwatch: gets the seconds of each stage.
            **overrides: single options by name: ``margin_mm=2``, ``prompts="wpl"``; see ``InferenceOptions``.

        Returns:
            The label map in the scan's own geometry, with where each structure was located.

        Raises:
            MedlsamError: as ``localize``; also weights that cannot be loaded, or boxes that fit nothing.
        """
        chosen = self.options_of(options, **overrides)
        stopwatch, slabs = stopwatch or Stopwatch(), chosen.prompt.prompts == "spl"
        if boxes is None:
            localization = self.localize(
                image, templates, chosen, case=case, embedding=embedding, stopwatch=stopwatch, slabs=slabs
            )
        else:
            self.check(templates)
            volume, name = open_scan(image, stopwatch)
            localization = given_localization(volume, boxes, templates, case or name, chosen.locate.organs)
        assert localization.image is not None
        values = {name: templates.values[name] for name in localization.structures}
        return self.segment_located(
            localization.image, localization, values, chosen, templates=templates, stopwatch=stopwatch
        )

    def segment_located(
        self,
        image: Image,
        localization: Localization,
        values: Mapping[str, int],
        options: InferenceOptions | None = None,
        *,
        templates: TemplateSet | None = None,
        stopwatch: Stopwatch | None = None,
        **overrides: Any,
    ) -> Segmentation:
        """Segment structures where they were located, or where somebody moved the boxes to.

        See ``medlsam.pipeline.segment.segment_located``; ``options`` and ``overrides`` as in ``segment``. A decoder
        that was adapted to ``templates`` is used where they are given.
        """
        chosen = self.options_of(options, **overrides)
        found = segment_located(
            lambda: self.segmenter_for(templates), image, localization, values, chosen, stopwatch
        )
        return replace(found, warnings=(*found.warnings, *self._decoder.warnings(templates)))

    def session(
        self,
        scan: Image | str | Path,
        templates: TemplateSet | None = None,
        segmentation: Segmentation | None = None,
        **overrides: Any,
    ) -> Session:
        """Begin to correct a scan's masks by hand; see ``medlsam.pipeline.session``.

        Args:
            scan: in HU, or where it lies.
            templates: segments their structures to begin with, unless ``segmentation`` has done so.
            segmentation: masks to begin with; without it and without templates the session begins empty.
            **overrides: single options by name, as in ``segment``.
        """
        from medlsam.pipeline.session.begin import begin

        return begin(self, scan, templates, segmentation, overrides)

    def segmenter_for(self, templates: TemplateSet | None) -> Segmenter:
        """The segmenter, with the decoder that was adapted to these templates for the structures that gain by it."""
        return self._decoder.for_templates(templates)


def load(options: InferenceOptions | None = None, **overrides: Any) -> MedLSAM:
    """Load the networks. The segmenter's weights are read when they are first needed.

    Args:
        options: which networks and where they run; what else they say is the default of the model's calls.
        **overrides: single options by name: ``device="cpu"``, ``segmenter="medsam_vit_b"``,
            ``precision="float32"``; see ``InferenceOptions``.

    Raises:
        WeightsError: an unknown name, or a file that is absent, damaged or of another kind.
        UsageError: a wrong option, or no such device here.
    """
    given: object = options or InferenceOptions()
    if not isinstance(given, InferenceOptions):
        raise UsageError(f"load takes options by name: medlsam.load(localizer={given!r})")
    options = given.replace(**overrides)
    # A wrong name is an error now, not after the first localization.
    if options.segmenter not in weight_names("segmenter"):
        resolve(options.segmenter, "segmenter")
    localizer = load_localizer(
        options.localizer, options.device, options.weights, precision=options.precision
    )
    return MedLSAM(localizer, options=options)
