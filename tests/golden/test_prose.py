"""What pages say in sentences is what the tables say, number by number."""

import re
from collections.abc import Sequence

import pytest

from tests.golden.prose import ROOT, Statement, escaped_words, numbers, prose
from tests.golden.statements import ELSEWHERE, PAGES, QUOTED, SETTINGS, UNHELD


def elsewhere(page: str, text: str) -> dict[str, list[re.Match[str]]]:
    return {words: list(re.finditer(escaped_words(words), text)) for words in ELSEWHERE.get(page, ())}


def results_of(page: str, text: str) -> list[re.Match[str]]:
    return numbers(prose(text), [*QUOTED.get(page, ()), *SETTINGS])


def unheld(page: str, text: str, statements: Sequence[Statement]) -> list[str]:
    """The numbers of a page's prose that nothing holds, each with what is around it."""
    spans = [found.span(i + 1) for one in statements for found in one.places(text) for i in range(len(found.groups()))]
    spans += [found.span() for places in elsewhere(page, text).values() for found in places]
    return [
        f"{found.group()}: ...{text[max(0, found.start() - 50) : found.end() + 30]}..."
        for found in results_of(page, text)
        if not any(start <= found.start() and found.end() <= end for start, end in spans)
    ]


def changed(text: str, number: re.Match[str]) -> str:
    """The page with another last digit in a number."""
    other = str((int(number.group()[-1]) + 5) % 10)
    return text[: number.end() - 1] + other + text[number.end() :]


def wrong(page: str, text: str, statements: Sequence[Statement]) -> list[str]:
    """All that is wrong with a page that has this text."""
    places = {one.words: one.places(text) for one in statements} | elsewhere(page, text)
    missing = [f"not on the page: {words}" for words, found in places.items() if not found]
    return [*(told for one in statements for told in one.wrong()), *missing, *unheld(page, text, statements)]


@pytest.mark.parametrize("page", PAGES)
def test_every_number_of_a_sentence_is_that_of_a_table(page: str) -> None:
    assert wrong(page, (ROOT / page).read_text(encoding="utf-8"), PAGES[page]()) == []


@pytest.mark.parametrize("page", PAGES)
def test_another_digit_is_seen(page: str) -> None:
    text, statements = (ROOT / page).read_text(encoding="utf-8"), PAGES[page]()
    results = results_of(page, text)
    for number in results[:: max(1, len(results) // 20)]:
        assert wrong(page, changed(text, number), statements)


def test_each_page_of_results_is_held_or_says_why_not() -> None:
    pages = {f"docs/results/{path.name}" for path in (ROOT / "docs" / "results").glob("*.md")}
    assert pages | {"README.md", "docs/results.md", "docs/claims.md"} == set(PAGES) | set(UNHELD)
    assert set(ELSEWHERE) <= set(PAGES)
