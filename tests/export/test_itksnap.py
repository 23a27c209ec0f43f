"""ITK-SNAP's label descriptions."""

import re

from medlsam.export.anatomy import colour_of
from medlsam.export.itksnap import write_itksnap_labels

#: A line of ITK-SNAP's own files: index, colour, opacity, two switches, and the name in quotes.
LINE = re.compile(r'\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+([\d.]+)\s+([01])\s+([01])\s+"([^"]*)"')


def test_labels_with_names_and_colours(tmp_path):
    write_itksnap_labels({300: 'the "big" one', 1: "liver", 7: "Łódź\n7"}, tmp_path / "labels.txt")
    lines = (tmp_path / "labels.txt").read_text(encoding="utf-8").splitlines()
    found = [LINE.fullmatch(line).groups() for line in lines if not line.startswith("#")]
    assert [(int(line[0]), line[7]) for line in found] == [
        (0, "Clear Label"),
        (1, "liver"),
        (7, "Łódź 7"),
        (300, "the 'big' one"),
    ]
    assert found[0][1:7] == ("0", "0", "0", "0", "0", "0")
    assert tuple(map(int, found[1][1:4])) == colour_of("liver")
    assert {line[4:7] for line in found[1:]} == {("1", "1", "1")}
