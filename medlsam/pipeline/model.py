"""Localization and segmentation of one scan: the place where the two halves meet.

No label of the scan is read here, and nothing here could: what reads template labels is in ``supports``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from medlsam.errors import TemplateError, UsageError
from medlsam.localize.build_templates import build_templates
from medlsam.localize.localizer import load_localizer
from medlsam.localize.locate import locate
from medlsam.localize.templates.template_set import TemplateSet
from medlsam.options import PRECISIONS, PROMPTS, SEARCHES, InferenceOptions, Policy, choice
from medlsam.pipeline.model_source import ModelSource
from medlsam.pipeline.opening import case_generator, opened
from medlsam.pipeline.segment import segment_located
from medlsam.results import Localization, Segmentation
from medlsam.runtime.stopwatch import Stopwatch
from medlsam.segment.load import load_segmenter
from medlsam.segment.protocol import Segmenter
from medlsam.segment.sam.embedding_cache import EmbeddingCache
from medlsam.segment.sam.segmenter import keep_embeddings
from medlsam.volume import Image
from medlsam.weights import names as weight_names
from medlsam.weights import resolve, sha256_of

if TYPE_CHECKING:
    from medlsam.localize.localizer import Localizer
    from medlsam.localize.protocol import ScanEmbedding
    from medlsam.localize.search.consensus import SearchOptions

_DEFAULT = InferenceOptions()


class MedLSAM:
    """A localizer and a segmenter, loaded once for any number of scans. Made by ``load``.

    Attributes:
        localizer: finds structures.
        device: where the networks run.
        source: how another process loads the same; None where this was not made by ``load``.
    """

    def __init__(
        self,
        localizer: Localizer,
        segmenter: Segmenter | str | Path = _DEFAULT.segmenter,
        cache: EmbeddingCache | None = None,
        precision: str = _DEFAULT.precision,
        source: ModelSource | None = None,
    ) -> None:
        self.source = source
        self.localizer = localizer
        self.device = localizer.device
        self._segmenter = segmenter
        self._cache = cache
        self._precision = precision

    @cached_property
    def segmenter(self) -> Segmenter:
        """The segmenter; loaded when it is first needed, since localization does without."""
        if isinstance(self._segmenter, str | Path):
            loaded = load_segmenter(self._segmenter, str(self.device), precision=self._precision)
            return keep_embeddings(loaded, self._cache)
        return self._segmenter

    @cached_property
    def segmenter_weights(self) -> dict[str, str]:
        """``name`` and ``sha256`` of the segmenter's weights, without loading them.

        Raises:
            WeightsError: there are none.
        """
        chosen = self._segmenter
        if isinstance(chosen, str | Path):
            return {"name": str(chosen), "sha256": sha256_of(resolve(chosen, "segmenter"))}
        return {"name": chosen.spec.name, "sha256": chosen.signature}

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
    ) -> TemplateSet:
        """Read a template file, or make templates from a folder of labelled scans.

        Args:
            path: a ``.medlsam`` file or a templates folder.
            organs: only these structures.
            cases: only these template scans of a folder: names, or ``FILE.json`` or ``FILE.json:key``.
            on_progress: called with a short text after each template scan of a folder.

        Raises:
            TemplateError: no usable templates there, an unknown structure or case, or another localizer's templates.
            UsageError: ``cases`` together with a file.
        """
        from medlsam.pipeline.templates import find_supports, read_supports

        path = Path(path)
        if path.is_dir():
            found, names = find_supports(path, cases)
            supports, source = read_supports(found, names), path.resolve().name
            return build_templates(
                self.localizer, supports, names, organs=organs, source=source, on_progress=on_progress
            )
        if not path.exists():
            raise TemplateError(f"{path}: there is no such template file or templates folder")
        if cases is not None:
            raise UsageError(f"{path}: cases can be chosen from a templates folder only, not from a file")
        templates = TemplateSet.load(path)
        self.check(templates)
        return templates if organs is None else templates.select(organs)

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

    def embed(self, image: Image | str | Path) -> ScanEmbedding:
        """One pass of the localizer over a scan (HU, any geometry): the costly step of localization."""
        return self.localizer.embed(opened(image, Stopwatch())[0])

    def localize(
        self,
        image: Image | str | Path,
        templates: TemplateSet,
        search: str = _DEFAULT.search,
        organs: Iterable[str] | None = None,
        seed: int = _DEFAULT.seed,
        watch: Stopwatch | None = None,
        case: str | None = None,
        slabs: bool = False,
        embedding: ScanEmbedding | None = None,
        options: SearchOptions | None = None,
    ) -> Localization:
        """Find the templates' structures in a scan.

        Args:
            image: a scan in HU, or where it lies (file, DICOM series folder, or zip of one).
            templates: from ``templates``.
            search: ``consensus``, or ``random-start``, the paper's own mode.
            organs: only these structures.
            seed: of the random starts; together with the scan's name, so that order does not matter.
            watch: gets the seconds of ``read``, ``embed`` and ``locate``.
            case: the scan's name; taken from its path unless told.
            slabs: also locate the slabs along z that ``spl`` prompts need.
            embedding: of this scan, from ``embed``, where it is there already; then no network runs.
            options: of the search; the defaults where None.

        Raises:
            TemplateError: templates of another localizer, or an unknown structure.
            UsageError: an unknown ``search``, or a path that means several scans.
            VolumeError: the scan cannot be read, or is no CT.
        """
        choice("search", search, SEARCHES)
        self.check(templates)
        chosen = templates if organs is None else templates.select(organs)
        watch = watch or Stopwatch()
        volume, name = opened(image, watch)
        case = case or name
        if embedding is None:
            with watch("embed"):
                embedding = self.localizer.embed(volume)
        with watch("locate"):
            stream = case_generator(seed, case)
            located = locate(embedding, chosen, search=search, generator=stream, options=options, slabs=slabs)
        return Localization(case, located, volume)

    def segment(
        self,
        image: Image | str | Path,
        templates: TemplateSet,
        prompts: str = _DEFAULT.prompts,
        search: str = _DEFAULT.search,
        organs: Iterable[str] | None = None,
        margin_mm: float = _DEFAULT.margin_mm,
        threshold: float = _DEFAULT.threshold,
        seed: int = _DEFAULT.seed,
        watch: Stopwatch | None = None,
        case: str | None = None,
        embedding: ScanEmbedding | None = None,
        policy: Policy = _DEFAULT.policy,
    ) -> Segmentation:
        """Find the templates' structures in a scan and segment them.

        Args:
            image: a scan in HU, or where it lies (file, DICOM series folder, or zip of one).
            templates: from ``templates``.
            prompts: ``profile``, ``spl`` or ``wpl``: see ``slice_prompts``.
            search: see ``localize``.
            organs: only these structures.
            margin_mm: added to each side of each slice's box.
            threshold: probability from which a voxel belongs to a structure.
            seed: see ``localize``.
            watch: gets the seconds of each stage.
            case: see ``localize``.
            embedding: see ``localize``.
            policy: what is asked beside the boxes, and what is made of the answers: see ``medlsam.options.Policy``.

        Returns:
            The label map in the scan's own geometry, with where each structure was located.

        Raises:
            MedlsamError: as ``localize``; also an unknown ``prompts``, or weights that cannot be loaded.
        """
        choice("prompts", prompts, PROMPTS)
        watch = watch or Stopwatch()
        localization = self.localize(
            image, templates, search, organs, seed, watch, case, slabs=prompts == "spl", embedding=embedding
        )
        assert localization.image is not None
        values = {name: templates.values[name] for name in localization.organs}
        return self.segment_located(
            localization.image, localization, values, prompts, margin_mm, threshold, watch, policy
        )

    def segment_located(
        self,
        image: Image,
        localization: Localization,
        values: Mapping[str, int],
        prompts: str = _DEFAULT.prompts,
        margin_mm: float = _DEFAULT.margin_mm,
        threshold: float = _DEFAULT.threshold,
        watch: Stopwatch | None = None,
        policy: Policy = _DEFAULT.policy,
    ) -> Segmentation:
        """Segment structures where they were located, or where somebody moved the boxes to.

        Structures that are missing or out of view cost no pass of a network and get no voxel.

        Args:
            image: the scan, HU.
            localization: where its structures are.
            values: structure to label value.
            prompts: see ``segment``.
            margin_mm: see ``segment``.
            threshold: see ``segment``.
            watch: gets the seconds of each stage.
            policy: see ``segment``.

        Raises:
            UsageError: an unknown ``prompts``.
            WeightsError: the segmenter cannot be loaded.
        """
        return segment_located(
            lambda: self.segmenter, image, localization, values, prompts, margin_mm, threshold, watch, policy
        )


def load(
    localizer: str | Path = _DEFAULT.localizer,
    segmenter: str | Path = _DEFAULT.segmenter,
    device: str = _DEFAULT.device,
    weights: str | Path | None = _DEFAULT.weights,
    cache: str | Path | None = _DEFAULT.cache,
    cache_gb: float = _DEFAULT.cache_gb,
    precision: str = _DEFAULT.precision,
) -> MedLSAM:
    """Load the networks. The segmenter's weights are read when they are first needed.

    Args:
        localizer: a registered name or a weights file.
        segmenter: a registered name or a weights file.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        weights: with the localizer ``published``: the checkpoint of the paper's network.
        cache: a folder that keeps what whole-slice segmenters encoded across runs; None keeps it in memory.
        cache_gb: the most that the folder takes up, GB; the embeddings used longest ago go.
        precision: ``auto`` (bfloat16 where the machine is fast at it, else float32), ``float32`` or ``bfloat16``.

    Raises:
        WeightsError: an unknown name, or a file that is absent, damaged or of another kind.
        UsageError: no such device here, an unknown precision, or ``weights`` with another localizer.
    """
    choice("precision", precision, PRECISIONS)
    if str(segmenter) not in weight_names("segmenter"):
        resolve(segmenter, "segmenter")  # a wrong name is told now, not after the first localization
    kept = None if cache is None else EmbeddingCache(cache, disk_bytes=int(cache_gb * 1e9))
    source = ModelSource(localizer, segmenter, str(device), weights, cache, cache_gb, precision)
    opened_localizer = load_localizer(localizer, device, weights, precision=precision)
    return MedLSAM(opened_localizer, segmenter, kept, precision, source)
