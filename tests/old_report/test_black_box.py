"""Cells of a table of the earlier page, for the tests of the studies that still have it."""

import re


def table_rows(page: str, table: str) -> list[list[str]]:
    """Cells of a table of the page, as a reader sees them."""
    (found,) = re.findall(rf'aria-label="{re.escape(table)}">.*?</table>', page, flags=re.DOTALL)
    body = found[found.index("<tbody>") :]
    rows = re.findall(r"<tr>(.*?)</tr>", body, flags=re.DOTALL)
    return [
        [
            re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", cell)).strip()
            for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)
        ]
        for row in rows
    ]
