"""The segmenters' registry entries."""

from __future__ import annotations

from medlsam.segment.registry import SEGMENTERS

SAM, MEDSAM = SEGMENTERS["sam_vit_b"], SEGMENTERS["medsam_vit_b"]


def test_the_entries_are_the_publishers() -> None:
    facts = {s.name: (s.input_size, s.aspect, s.normalisation, s.interpolation) for s in SEGMENTERS.values()}
    sam = (1024, "longest", "mean_std", "bilinear")
    assert facts == {
        "sam-tiny": (96, "crop", "own", "own"),
        "sam_vit_b": sam,
        "sam_vit_l": sam,
        "sam_vit_h": sam,
        "medsam_vit_b": (1024, "stretch", "min_max", "spline"),
        "litemedsam": (256, "longest", "min_max", "area"),
        "mobile_sam": sam,
    }
    for spec in SEGMENTERS.values():
        assert (spec.level, spec.width) == (40, 400)
        if spec.normalisation == "mean_std":
            assert (spec.mean, spec.std) == ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


def test_every_entry_has_weights_and_a_licence() -> None:
    for name, spec in SEGMENTERS.items():
        assert spec.name == name
        assert spec.licence
        assert (spec.kind == "sam") == (spec.architecture is not None)
    assert str(SAM.url).endswith("sam_vit_b_01ec64.pth")
    assert MEDSAM.url is None
