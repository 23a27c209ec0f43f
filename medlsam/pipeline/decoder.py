"""Which segmenter decodes: the one that the options name, or its copy with a decoder adapted to the templates."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from medlsam.options import InferenceOptions
from medlsam.segment.adapted import PerStructure, with_differences
from medlsam.segment.load import load_segmenter
from medlsam.segment.sam.embedding_cache import EmbeddingCache
from medlsam.segment.sam.segmenter import keep_embeddings
from medlsam.segment.sam_tiny.segmenter import TinySegmenter
from medlsam.weights import ENTRIES, resolve, sha256_of, state

if TYPE_CHECKING:
    from medlsam.localize.templates.adapted import AdaptedDecoder
    from medlsam.localize.templates.template_set import TemplateSet
    from medlsam.segment.protocol import Segmenter


class DecoderChoice:
    """The segmenter of a model, loaded when it is first needed, and its adapted copies."""

    def __init__(self, options: InferenceOptions, device: str, given: Segmenter | None = None) -> None:
        """Choose by options.

        Args:
            options: which segmenter, in which precision, with which cache.
            device: where it runs.
            given: a segmenter that is ready; then the options name none.
        """
        self._options, self._device, self._given = options, device, given
        # The last adapted decoder: one set of templates serves many scans.
        self._adapted: tuple[AdaptedDecoder, Segmenter] | None = None

    @cached_property
    def usual(self) -> Segmenter:
        """The segmenter as it was trained; loaded when it is first needed, since localization does without."""
        if self._given is not None:
            return self._given
        options, cache = self._options, None
        if options.cache is not None:
            cache = EmbeddingCache(options.cache, disk_bytes=int(options.cache_gb * 1e9))
        loaded = load_segmenter(options.segmenter, self._device, precision=options.precision)
        return keep_embeddings(loaded, cache)

    @cached_property
    def weights(self) -> dict[str, str]:
        """``name`` and ``sha256`` of the segmenter's weights, without loading them.

        Raises:
            WeightsError: there are none.
        """
        if self._given is not None:
            return {"name": self._given.spec.name, "sha256": self._given.signature}
        name = self._options.segmenter
        known = ENTRIES.get(name)
        if known is not None and known.url and known.sha256 and state(known) == "absent":
            # It is downloaded when it is loaded, and must have this sum then.
            return {"name": name, "sha256": known.sha256}
        return {"name": name, "sha256": sha256_of(resolve(name, "segmenter"))}

    def for_templates(self, templates: TemplateSet | None) -> Segmenter:
        """The segmenter, with the decoder that was adapted to these templates for the structures that gain by it."""
        adapted = templates.adapted if templates is not None else None
        usual = self.usual
        if adapted is None or not adapted.structures or not isinstance(usual, TinySegmenter):
            return usual
        if adapted.signature != usual.signature:
            return usual
        kept = self._adapted
        if kept is None or kept[0] is not adapted:
            own = with_differences(usual, adapted.differences)
            kept = self._adapted = (adapted, PerStructure(usual, own, adapted.structures))
        return kept[1]

    def warnings(self, templates: TemplateSet | None) -> tuple[str, ...]:
        """What a reader should know: a decoder that was adapted to other weights is not used."""
        adapted = templates.adapted if templates is not None else None
        if adapted is None or not adapted.structures or adapted.signature == self.weights["sha256"]:
            return ()
        return (
            "the templates carry a decoder that was adapted to other segmenter weights (sha256 "
            f"{adapted.signature[:12]}...) than {self.weights['name']}; it was not used",
        )
