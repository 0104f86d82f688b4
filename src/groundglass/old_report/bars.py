"""One bar an attacker: what the answer shows at a glance."""

from dataclasses import dataclass

from groundglass.core.statistics import Proportion


@dataclass(frozen=True)
class Bar:
    """One attacker's result. `rule`: the rule or query attack whose colour it has."""

    name: str
    rule: str
    share: Proportion
    note: str


@dataclass(frozen=True)
class Chart:
    """Bars with a heading, and what their lengths are."""

    title: str
    bars: tuple[Bar, ...]
    note: str
