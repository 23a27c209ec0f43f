"""The table of public data sets in the pages is the registry's; ``python tests/docs/test_public_data.py`` writes it."""

from __future__ import annotations

import re
from pathlib import Path

from medlsam.data import SOURCES

# Not `tests.support.paths`: it also runs as a script.
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "public-data.md"
_TABLE = re.compile(r"(\| name \|.*?\n)(<!-- end of the table -->)", re.DOTALL)


def table() -> str:
    """The table as the registry has it, in Markdown."""
    rows = ["| name | data set | contents | licence | how | checked by |", "|---|---|---|---|---|---|"]
    for about in SOURCES.values():
        size = f", {about.bytes / 1e9:.0f} GB" if about.bytes else ""
        how = f"fetched{size}" if about.fetched else "from your copy"
        rows.append(
            f"| `{about.name}` | [{about.title}]({about.homepage}) | {about.contents} | "
            f"[{about.licence}]({about.licence_url}) | {how} | {about.checked_by} |"
        )
    return "\n".join(rows) + "\n"


def test_the_page_has_the_table_of_the_registry() -> None:
    found = _TABLE.search(PAGE.read_text(encoding="utf-8"))
    assert found is not None
    assert found[1] == table(), "python tests/docs/test_public_data.py writes it anew"


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(_TABLE.sub(lambda found: table() + found[2], text), encoding="utf-8")
