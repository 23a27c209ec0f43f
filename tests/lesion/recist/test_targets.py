"""What may be measured by slice thickness, and which lesions become targets."""

from __future__ import annotations

import pytest

from medlsam.errors import UsageError
from medlsam.lesion.recist.lesion import NODES, Kind
from medlsam.lesion.recist.measurable import least_diameter_mm, measurability, measurability_of
from medlsam.lesion.recist.targets import choose_targets
from tests.support.lesions import lesion


@pytest.mark.parametrize(
    ("diameter", "thickness", "node", "expected"),
    [
        (10.0, 5.0, False, "measurable"),
        (9.9, 5.0, False, "non_measurable"),
        (10.0, 1.0, False, "measurable"),
        (10.0, 6.0, False, "non_measurable"),
        (12.0, 6.0, False, "measurable"),
        (15.0, 5.0, True, "measurable"),
        (14.9, 5.0, True, "pathological"),
        (10.0, 5.0, True, "pathological"),
        (9.9, 5.0, True, "normal"),
        (15.0, 8.0, True, "pathological"),
        (16.0, 8.0, True, "measurable"),
        (15.0, 7.0, True, "measurable"),
    ],
)
def test_measurable(diameter: float, thickness: float, node: bool, expected: str) -> None:
    assert measurability(diameter, thickness, node) == expected


def test_a_thickness_is_positive() -> None:
    with pytest.raises(UsageError, match="positive"):
        least_diameter_mm(0.0)


def test_a_node_is_judged_by_its_short_axis_and_by_the_thickness_that_is_given() -> None:
    long = lesion(1, 30, "n,mediastinum", short=12)
    assert long.diameter_mm == 12
    assert measurability_of(long) == "pathological"
    assert measurability_of(lesion(1, 11, slice_mm=2.5)) == "measurable"
    assert measurability_of(lesion(1, 11, slice_mm=2.5), slice_mm=7.0) == "non_measurable"


def test_at_most_five_and_two_an_organ() -> None:
    liver = [lesion(i, 50 - i, "m,liver") for i in range(1, 5)]
    lung = [lesion(5, 20, "m,lung_left"), lesion(6, 15, "m,lung_right"), lesion(7, 14, "m,lung_left")]
    nodes = [
        lesion(8, 40, "n,aortocaval", short=18),
        lesion(9, 40, "n,axillary", short=17),
        lesion(10, 30, "n,iliac"),
    ]
    chosen = choose_targets([*liver, *lung, *nodes])
    # Each organ's largest, then the second ones by size: liver 49 and 48, nodes 30 and 18, lung 20.
    assert [own.id for own in chosen] == [1, 2, 10, 5, 8]
    assert [own.id for own in choose_targets(liver)] == [1, 2]
    assert [own.id for own in choose_targets([*lung, *liver], most=2)] == [1, 5]


def test_what_is_not_measurable_or_cut_off_is_no_target() -> None:
    few = [
        lesion(1, 9),
        lesion(2, 60, cut_off=True),
        lesion(3, 30, "n,pelvis", short=14),
        lesion(4, 12, "m,lung"),
    ]
    assert [own.id for own in choose_targets(few)] == [4]
    assert choose_targets([]) == []


@pytest.mark.parametrize(
    ("text", "type_", "site", "organ"),
    [
        ("m,lung", "m", "lung", "lung"),
        (" T , Lung ", "t", "Lung", "lung"),
        ("n,hepatic hilum", "n", "hepatic hilum", NODES),
        ("n", "n", "", NODES),
        ("lymph_node", "n", "lymph_node", NODES),
        ("adenopathies", "n", "adenopathies", NODES),
        ("liver_tumor", "", "liver_tumor", "liver_tumor"),
        ("lung_nodule", "", "lung_nodule", "lung_nodule"),
        ("m,kidney_left", "m", "kidney_left", "kidney"),
        ("m,right adrenal", "m", "right adrenal", "adrenal"),
        ("", "", "", "unknown"),
        ("m,lung_upper_lobe_left", "m", "lung_upper_lobe_left", "lung"),
        ("m,lower lobe", "m", "lower lobe", "lower lobe"),
        ("m,Lungs", "m", "Lungs", "lung"),
        ("m,vertebrae_L1", "m", "vertebrae_L1", "bone"),
        ("m,rib_left_4", "m", "rib_left_4", "bone"),
        ("m,adrenal_gland_right", "m", "adrenal_gland_right", "adrenal"),
    ],
)
def test_kinds(text: str, type_: str, site: str, organ: str) -> None:
    kind = Kind.parse(text)
    assert (kind.type, kind.site, kind.organ) == (type_, site, organ)


def test_an_unknown_type_is_named() -> None:
    with pytest.raises(UsageError, match="'q' is no type"):
        Kind.parse("q,lung")
    assert str(Kind.parse("m, lung")) == "m,lung"
