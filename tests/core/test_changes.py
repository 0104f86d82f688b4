"""Settings as people write them: what a change makes, what a table reads back, and what is refused with a way out."""

import tomllib
from abc import ABC
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundglass.core.changes import Change, changed, changes_of, parse_change, setting_notes, written_settings
from groundglass.core.settings import Count, In, Positive, Settings
from groundglass.core.toml import toml


class Food(Settings, ABC):
    """Of several kinds."""


@dataclass(frozen=True)
class Bread(Food):
    slices: Count = 2


@dataclass(frozen=True)
class Soup(Food):
    litres: Positive
    hot: bool = True


@runtime_checkable
class Rhythm(Protocol):
    def beat(self) -> int: ...


@dataclass(frozen=True)
class Slow(Settings):
    every: Count = 3

    def beat(self) -> int:
        return self.every


@dataclass(frozen=True, kw_only=True)
class Day(Settings):
    """A day.

    Attributes:
        meals: in order;
            none is a fast.
        first, last: hours.
    """

    meals: tuple[Food, ...] = (Bread(), Soup(0.5))
    best: Food = field(default_factory=Bread)
    snack: Bread | None = None
    rhythm: Rhythm = field(default_factory=Slow)
    hours: tuple[Annotated[float, In("[0, 24)", "of a clock")], ...] = (7, 12.5)
    sizes: tuple[tuple[Count, Count], ...] = ((1, 2),)
    pair: tuple[int, int] = (0, 1)
    first: int = 7
    last: int | None = 22
    mood: Literal["good", "bad"] = "good"
    note: str | None = "none"


def after(*texts: str) -> Day:
    return changed(Day(), [parse_change(text) for text in texts])


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("first=8", "first", 8),
        ("hours = [1, 2]", "hours", (1, 2)),
        ("hours+=23.5", "hours", (7, 12.5, 23.5)),
        ("hours+=[1, 2]", "hours", (7, 12.5, 1, 2)),
        ("hours-=7", "hours", (12.5,)),
        ("hours+=.5", "hours", (7, 12.5, 0.5)),
        ("hours+=1/8", "hours", (7, 12.5, 0.125)),
        ('hours=["8/255"]', "hours", (8 / 255,)),
        ("sizes+=[3, 4]", "sizes", ((1, 2), (3, 4))),
        ("pair=[5, 6]", "pair", (5, 6)),
        ("last=none", "last", None),
        ("mood=bad", "mood", "bad"),
        ("note=8/255", "note", "8/255"),
        ("snack={}", "snack", Bread()),
        ('best={kind="Soup", litres=1}', "best", Soup(1)),
        ("best.slices=5", "best", Bread(5)),
        ("best={slices=5}", "best", Bread(5)),
        ('meals-={kind="Bread"}', "meals", (Soup(0.5),)),
        ('meals+={kind="Soup", litres="1/4", hot=false}', "meals", (Bread(), Soup(0.5), Soup(0.25, False))),
        ("rhythm.every=9", "rhythm", Slow(9)),
        ('rhythm={kind="Slow"}', "rhythm", Slow()),
    ],
)
def test_a_change_makes_what_it_says(text: str, name: str, value: Any) -> None:
    found = getattr(after(text), name)
    assert found == value
    assert repr(found) == repr(value)


def test_changes_are_made_in_order_and_a_kind_begins_anew() -> None:
    assert after("hours+=1", "hours-=1").hours == Day().hours
    assert after("best.slices=5", 'best={kind="Bread"}').best == Bread()
    assert after('best={kind="Soup", litres=2}', "best.hot=false").best == Soup(2, False)
    assert changed(Day(), [Change(("best",), Soup(3))]).best == Soup(3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("frist=1", "unknown setting 'frist': did you mean 'first'"),
        ("best.slice=1", "unknown setting of best 'slice': did you mean 'slices'"),
        ("bread.slices=1", "unknown setting 'bread.slices': did you mean 'best.slices'?"),
        ("best.slices=0", r"`best.slices` \(=0\) must be at least 1"),
        ("hours+=25", r"`hours\[2\]` .*=25.* of a clock"),
        ("hours+=7", "`hours` has 7"),
        ("hours-=8", "`hours` has no 8"),
        ("first+=1", "no tuple"),
        ("mood=bed", "did you mean 'bad'"),
        ("best={litres=1}", "unknown setting of best 'litres'"),
        ("snack.slices=1", r"give it a table first, snack=\{"),
        ('best={kind="Bred"}', "did you mean 'Bread'"),
        ("meals+={litres=1}", "give it a kind"),
        ('best={kind="Soup"}', "`best` lacks litres"),
        ('best={kind="Soup", litre=1, litres=2}', "unknown setting of best 'litre'"),
        ('best={kind="Soup", litres=0}', r"`best.litres` \(=0\) must be above 0"),
        ("first", "NAME=VALUE"),
        ("first=1, 2", "no value of TOML"),
        ("pair=[1]", "must have 2 entries"),
    ],
)
def test_what_cannot_be_is_refused_by_its_whole_name(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        after(text)


@pytest.mark.parametrize("text", ["first=x", "first={x=1}", "hours=7", "best=7", "first=true"])
def test_values_of_another_kind_are_refused(text: str) -> None:
    with pytest.raises(TypeError, match=f"`{text.partition('=')[0]}"):
        after(text)


def test_a_table_is_complete_and_reads_back_as_the_same() -> None:
    day = after('best={kind="Soup", litres=1}', "last=none", "hours=[]", "snack={}", "note=x")
    assert repr(changed(Day(first=1), changes_of(tomllib.loads(toml(written_settings(day)))))) == repr(day)


def test_docstrings_become_comments_once_for_those_that_share_one() -> None:
    text = toml(written_settings(Day()), setting_notes(Day))
    assert text.count("# meals: in order; none is a fast.\nmeals = [") == 1
    assert "# first, last: hours.\nfirst = 7\nlast = 22\n" in text


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
numbers = st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | st.booleans()
values = st.recursive(
    numbers | words, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3)
)


@given(st.dictionaries(words, values, max_size=4))
def test_toml_reads_back_as_the_same_values(table: dict[str, Any]) -> None:
    assert tomllib.loads(toml(table)) == table
