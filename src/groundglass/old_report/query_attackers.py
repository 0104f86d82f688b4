"""Who the query attackers are: what each must know, what it may ask, and where it comes from."""

from dataclasses import dataclass


@dataclass(frozen=True)
class QueryAttacker:
    """An attacker who has no weights, only answers.

    Attributes:
        name: in records.
        sentence: how it goes about it, in a sentence.
        source: where the attack was published.
        in_paper: one of the three of the paper's Figure 3.
    """

    name: str
    sentence: str
    source: str
    in_paper: bool


QUERY_ATTACKERS: tuple[QueryAttacker, ...] = (
    QueryAttacker(
        name="NES",
        sentence="Estimates the gradient from the loss at pairs of random points around the image, and steps along its sign.",
        source="Ilyas et al. 2018",
        in_paper=True,
    ),
    QueryAttacker(
        name="Bandits",
        sentence=(
            "Estimates the gradient as NES does, but keeps a running guess of it on a coarse grid: neighbouring pixels "
            "and successive steps have similar gradients."
        ),
        source="Ilyas et al. 2019",
        in_paper=True,
    ),
    QueryAttacker(
        name="Parsimonious",
        sentence=(
            "Estimates no gradient: every block of pixels stands at one end of its range or the other, and a greedy search "
            "turns over those that raise the loss."
        ),
        source="Moon et al. 2019",
        in_paper=True,
    ),
    QueryAttacker(
        name="Square",
        sentence=(
            "Estimates no gradient: puts random squares at the ends of their range and keeps those that raise the loss; "
            "the query attack of AutoAttack."
        ),
        source="Andriushchenko et al. 2020",
        in_paper=False,
    ),
    QueryAttacker(
        name="RayS",
        sentence=(
            "Sees the predicted class alone and searches, direction by direction, for the one in which the class changes "
            "soonest."
        ),
        source="Chen and Gu 2020",
        in_paper=False,
    ),
)

# What each access hands out for a query.
ANSWERS = {"scores": "the scores of every class", "labels": "the predicted class, nothing else"}

_BY_NAME = {attacker.name: attacker for attacker in QUERY_ATTACKERS}


def query_attacker(name: str) -> QueryAttacker:
    """The attacker of that name; one that this version does not know is said to be unknown, not left out."""
    return _BY_NAME.get(name) or QueryAttacker(
        name=name,
        sentence="These records come from a version that knows more attackers: rebuild the page with that version.",
        source="not described here",
        in_paper=False,
    )


def query_rank(name: str) -> int:
    """Position in the order used everywhere: the paper's three first."""
    names = list(_BY_NAME)
    return names.index(name) if name in names else len(names)
