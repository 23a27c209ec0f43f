"""A support that does not fit is named, in the right way, and good ones are left alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medlsam.localize.confidence.outliers import CrossTable, diagnose
from medlsam.localize.templates.issues import TemplateIssue

STRUCTURES = ("Brainstem", "Cord", "RightParotid", "LeftParotid", "Larynx", "Mandible")
#: Centre and size, LPS mm, like those of a head.
PLACES = {
    "Brainstem": ((0, 0, 60), (35, 35, 60)),
    "Cord": ((0, 15, -40), (20, 60, 180)),
    "RightParotid": ((-55, -5, 30), (35, 45, 55)),
    "LeftParotid": ((55, -5, 30), (35, 45, 55)),
    "Larynx": ((0, -45, -50), (38, 38, 38)),
    "Mandible": ((0, -60, 15), (110, 85, 70)),
}
TEMPLATES = ("p1", "p2", "p3", "p4", "p5")


def faces(structure: str) -> np.ndarray:
    center, size = (np.asarray(v, float) for v in PLACES[structure])
    return np.stack([center - size / 2, center + size / 2], axis=1).ravel()


def people(count: int = 5, seed: int = 0, noise: float = 2.0) -> CrossTable:
    """Supports whose bodies lie anywhere, located in each other with a few millimetres of error."""
    rng = np.random.default_rng(seed)
    body = rng.uniform(-100, 100, (count, 3))
    own = np.stack([[faces(o) + np.repeat(body[s], 2) for s in range(count)] for o in STRUCTURES])
    found = np.repeat(own[:, None], count, axis=1) + rng.normal(0, noise, (len(STRUCTURES), count, count, 6))
    found[:, range(count), range(count)] = np.nan
    return CrossTable(STRUCTURES, TEMPLATES[:count], own + rng.normal(0, noise, own.shape), found)


def relabel(table: CrossTable, template: int, meaning: dict[str, str]) -> CrossTable:
    """What a support calls by one name is another structure: its marks lie there, and it finds that one elsewhere."""
    own, found = table.own.copy(), table.found.copy()
    for name, really in meaning.items():
        own[STRUCTURES.index(name), template] = table.own[STRUCTURES.index(really), template]
        found[STRUCTURES.index(name), template] = table.found[STRUCTURES.index(really), template]
    return replace(table, own=own, found=found)


def shifted(table: CrossTable, template: int, organs: tuple[str, ...], by: tuple[float, ...]) -> CrossTable:
    own, found = table.own.copy(), table.found.copy()
    for structure in organs:
        own[STRUCTURES.index(structure), template] += np.repeat(by, 2)
        found[STRUCTURES.index(structure), template] += np.repeat(by, 2)
    return replace(table, own=own, found=found)


def flipped(table: CrossTable, template: int, axis: int, rng: np.random.Generator) -> CrossTable:
    """Marks turned over with the scan; what is looked for in it or with it is found anywhere."""
    own, found = table.own.copy(), table.found.copy()
    middle = own[:, template, 2 * axis : 2 * axis + 2].mean()
    own[:, template, 2 * axis : 2 * axis + 2] = 2 * middle - own[:, template, [2 * axis + 1, 2 * axis]]
    found[:, template] += np.repeat(rng.normal(0, 40, (*found[:, template].shape[:2], 3)), 2, axis=-1)
    found[:, :, template] += np.repeat(rng.normal(0, 40, (*found[:, :, template].shape[:2], 3)), 2, axis=-1)
    return replace(table, own=own, found=found)


def only(table: CrossTable) -> TemplateIssue:
    issues = diagnose(table).issues
    assert len(issues) == 1, [f.message for f in issues]
    return issues[0]


@pytest.mark.parametrize("count", [2, 3, 5])
def test_good_sets_raise_no_alarm(count: int) -> None:
    for seed in range(20):
        result = diagnose(people(count, seed))
        assert result.issues == ()
        assert np.nanmax(result.scores) < 1


@pytest.mark.parametrize("count", [3, 5])
@pytest.mark.parametrize("bad", [0, 2])
def test_left_and_right_swapped(count: int, bad: int) -> None:
    swap = {"LeftParotid": "RightParotid", "RightParotid": "LeftParotid"}
    issue = only(relabel(people(count), bad, swap))
    assert (issue.templates, issue.kind) == ((TEMPLATES[bad],), "left_right")
    assert set(issue.structures) == set(swap)
    assert TEMPLATES[bad] in issue.message
    assert "swapped" in issue.message


@pytest.mark.parametrize("count", [3, 5])
def test_two_labels_exchanged(count: int) -> None:
    issue = only(relabel(people(count), 1, {"Larynx": "Brainstem", "Brainstem": "Larynx"}))
    assert (issue.templates, issue.kind) == (("p2",), "exchanged")
    assert set(issue.structures) == {"Larynx", "Brainstem"}


@pytest.mark.parametrize("count", [3, 5])
def test_another_organ_is_named(count: int) -> None:
    issue = only(relabel(people(count), 2, {"Larynx": "Mandible"}))
    assert (issue.templates, issue.kind, issue.structures) == (("p3",), "another_organ", ("Larynx",))
    assert issue.looks_like == "Mandible"
    assert "Mandible" in issue.message


def test_one_structure_shifted() -> None:
    issue = only(shifted(people(), 3, ("RightParotid",), (0.0, 5.0, 30.0)))
    assert (issue.templates, issue.kind, issue.structures) == (("p4",), "shifted", ("RightParotid",))
    assert issue.shift_mm is not None
    assert np.allclose(issue.shift_mm, (0, 5, 30), atol=6)
    assert "towards the head" in issue.message


def test_all_labels_shifted_a_little() -> None:
    """What no single structure shows, all of them together do."""
    table = shifted(people(noise=1.0), 0, STRUCTURES, (0.0, 0.0, 12.0))
    assert np.nanmax(diagnose(table).scores[:, 0]) < 1
    issue = only(table)
    assert (issue.templates, issue.kind, issue.structures) == (("p1",), "shifted", STRUCTURES)
    assert issue.shift_mm is not None
    assert np.allclose(issue.shift_mm, (0, 0, 12), atol=3)


@pytest.mark.parametrize(("axis", "name"), [(1, "y"), (2, "z")])
def test_a_flipped_scan(axis: int, name: str) -> None:
    issue = only(flipped(people(seed=4), 1, axis, np.random.default_rng(5)))
    assert (issue.templates, issue.kind, issue.axis) == (("p2",), "flipped", name)


def test_marks_of_nothing_known() -> None:
    table = shifted(people(), 2, ("Larynx",), (0.0, 0.0, 0.0))
    rng = np.random.default_rng(3)
    table.own[4, 2] = faces("Larynx") + np.repeat([150.0, 120, 90], 2)
    table.found[4, 2] += np.repeat(rng.normal(0, 60, (5, 3)), 2, axis=-1)
    issue = only(table)
    assert (issue.templates, issue.structures) == (("p3",), ("Larynx",))
    assert issue.kind in ("unlike", "shifted")


def test_with_two_supports_both_are_named() -> None:
    issue = only(relabel(people(2), 1, {"Larynx": "Mandible"}))
    assert issue.templates == ("p1", "p2")
    assert "cannot be said" in issue.message


def test_supports_may_lack_structures() -> None:
    table = relabel(people(), 1, {"Larynx": "Mandible"})
    own, found = table.own.copy(), table.found.copy()
    for structure, template in ((0, 0), (2, 3), (3, 4), (5, 1)):
        own[structure, template] = found[structure, template] = np.nan
    own[0, 1:] = found[0, 1:] = np.nan  # nobody has it now
    result = diagnose(replace(table, own=own, found=found))
    assert [f.templates for f in result.issues] == [("p2",)]
    assert np.isnan(result.scores[0]).all()


def test_one_support_says_nothing() -> None:
    result = diagnose(people(1))
    assert result.issues == ()
    assert np.isnan(result.scores).all()


def test_ends_that_are_a_matter_of_taste_raise_no_alarm() -> None:
    table = people()
    own, found = table.own.copy(), table.found.copy()
    own[1, 2, 4] -= 60  # one support's cord goes on further down
    found[1, 2, :, 4] -= 60
    assert diagnose(replace(table, own=own, found=found)).issues == ()


@settings(max_examples=15, deadline=None)
@given(order=st.permutations(range(5)), seed=st.integers(0, 50))
def test_the_order_of_supports_does_not_matter(order: list[int], seed: int) -> None:
    table = relabel(people(seed=seed), 2, {"Larynx": "Brainstem", "Brainstem": "Larynx"})
    turned = CrossTable(
        table.structures,
        tuple(table.templates[i] for i in order),
        table.own[:, order],
        table.found[:, order][:, :, order],
    )
    assert np.allclose(diagnose(turned).scores, diagnose(table).scores[:, order])
    assert {f.templates for f in diagnose(turned).issues} == {f.templates for f in diagnose(table).issues}


@pytest.mark.parametrize(
    "issue",
    [
        TemplateIssue(("a",), ("liver",), "another_organ", 3.0, looks_like="spleen"),
        TemplateIssue(("a", "b"), ("liver",), "shifted", 1.5, shift_mm=(1.0, -20.0, 3.0)),
        TemplateIssue(("a",), ("liver", "spleen"), "flipped", 9.0, axis="z"),
        TemplateIssue(("a",), ("liver", "spleen"), "flipped", 9.0),
        TemplateIssue(("a",), ("liver",), "unlike", 1.0),
        TemplateIssue(("a",), ("liver", "spleen"), "exchanged", 2.0),
        TemplateIssue(("a",), ("liver", "spleen"), "left_right", 2.0),
    ],
)
def test_issues_are_stored_and_put_in_words(issue: TemplateIssue) -> None:
    assert TemplateIssue.from_dict(issue.to_dict()) == issue
    assert "a" in issue.message
    assert "liver" in issue.message
    assert "None" not in issue.message


def test_a_shift_is_told_in_words() -> None:
    message = TemplateIssue(("a",), ("liver",), "shifted", 1.5, shift_mm=(1.0, -20.0, 9.0)).message
    assert "20 mm towards the front and 9 mm towards the head" in message


def test_unknown_kinds_are_refused() -> None:
    entry = TemplateIssue(("a",), ("liver",), "unlike", 1.0).to_dict() | {"kind": "odd"}
    with pytest.raises(ValueError, match="odd"):
        TemplateIssue.from_dict(entry)
