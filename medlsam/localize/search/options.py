"""Options and constants of the search, each with its reason; the golden test holds their effect.

The options were chosen on the cases of the pretraining split (docs/decisions/localization; what others give is printed
by ``benchmarks/localize/search.py``). The probe's own constants stand in ``boundary_probe.py`` and ``probe_trust.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Radii of the Gaussian weights of the coarse votes, mm. The first one weights cells by the length of their own
#: predicted offset, since offsets are learnt best over short distances; each repeat weights cells by their distance
#: from the centre.
VOTE_RADII_MM = (80.0, 60.0)
#: Added to distances in the votes' geometric median, so that a vote at the centre itself gets no infinite weight, mm.
MEDIAN_SOFTENING_MM = 5.0
#: Votes held at a time: few enough to stay in the processor's cache, where the sums take half as long.
VOTE_BUDGET = 200_000
#: The paper's random starts lie within ten voxels of 3 mm of the scan's middle, as in its authors' code.
START_JITTER_MM = 30.0

#: Landmarks this far off the fit of their template count half (Cauchy weights): about two cells of the finest features.
FIT_OUTLIER_MM = 8.0
#: The fit draws scales towards 1 as if this share of the landmarks' own variance, and this variance (mm^2), said so: a
#: thin structure's landmarks tell little of its scale.
SCALE_PRIOR_SHARE = 0.25
SCALE_PRIOR_MM2 = 25.0
#: No person is smaller or larger than another by more; wrong coarse votes would collapse the landmarks into a point.
SCALE_LIMITS = (0.7, 1.4)
#: Rounds of reweighting, after which scale and shift hardly move.
FIT_ROUNDS = 5
#: Landmarks count by their similarity, no less than the first and no more than the second, to this power.
WEIGHT_LIMITS = (0.05, 1.0)
WEIGHT_POWER = 4
#: Templates count fully up to this distance from where they agree, and pull no harder beyond it, mm.
AGREEMENT_MM = 12.0
#: A template whose scan is aligned less well around the structure counts less: by e for each such step of support.
SUPPORT_STEP = 0.1


@dataclass(frozen=True)
class SearchOptions:
    """How structures are searched for.

    Attributes:
        windows_mm: half widths of the successive refinement windows; empty to stop after the first answer.
        temperature: of the soft arg-max in a window, on the mean cosine.
        own_weight: how much a face follows its own refined point (1) or the fit of all landmarks (0).
        face_weight: share of a face's own result that comes from the places beside its extreme point, 0 to 1.
        probe: whether the faces follow a probe trained on the templates' masks (consensus search only).
        deformation: whether the faces of large structures follow nodes that move on their own (consensus search only).
        alignment: whether the first answer comes from the alignment of whole scans, where the network gives features
            for it, or from coarse votes alone.
        paper_window_mm: half width of the single window of the paper's mode (64 voxels of 3 mm); 0 to stop after the
            coarse result.
    """

    windows_mm: tuple[float, ...] = (24.0,)
    temperature: float = 0.03
    own_weight: float = 0.75
    face_weight: float = 0.5
    probe: bool = True
    deformation: bool = True
    alignment: bool = True
    paper_window_mm: float = 96.0
