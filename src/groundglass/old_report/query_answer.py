"""The query attacks at the head of the page: who is strongest, at what price, and what that says about the layer."""

from groundglass.old_report.bars import Bar, Chart
from groundglass.old_report.cells import BASELINE, DEFENDED
from groundglass.old_report.contests import Contest, contests, rate
from groundglass.old_report.networks import read_network
from groundglass.old_report.queries import QueryCell
from groundglass.old_report.query_words import layer_words, reference_words, strongest_words
from groundglass.old_report.study import Study
from groundglass.old_report.threat_models import attacker
from groundglass.old_report.verdict import Verdict, listed, percent


def query_answer(study: Study, verdict: Verdict) -> tuple[list[str], Chart | None]:
    """Sentences and bars of the first ball that was attacked; nothing while there is none.

    What the verdict gives as its reasons is not said twice.
    """
    found = contests(study)
    if not found:
        return [], None
    contest = found[0]
    budgets = sorted({cell.budget for cell in contest.cells})
    asked = f"{budgets[0]:,}" if len(budgets) == 1 else f"{budgets[0]:,} to {budgets[-1]:,}"
    layer = layer_words(contest)
    said = [
        *_other_networks(study),
        f"An attacker who has no weights may ask {asked} times an image and move every pixel within {contest.ball}.",
        *strongest_words(contest),
        *([layer] if layer else []),
        *reference_words(contest, DEFENDED),
    ]
    return [sentence for sentence in said if sentence not in verdict.reasons], _chart(contest)


def _other_networks(study: Study) -> list[str]:
    """In a study of both parts: that the query attacks met other networks than the gradients did, where they have."""
    gradients = study.networks_of(cell.record for cell in study.attacks)
    asked = study.networks_of(cell.record for cell in study.queries)
    others = [read_network(record) for record in asked if gradients and record not in gradients]
    if not others:
        return []
    rights = listed([f"{network.name} with {percent(network.clean.share)} right untouched" for network in others])
    return [f"The query attacks met networks of their own, {rights}."]


def _chart(contest: Contest) -> Chart | None:
    bars = [Bar(cell.name, cell.attack, rate(cell), _price(cell)) for cell in contest.cells if cell.success is not None]
    bars += [
        Bar(f"{model} ← {attacker(x.rule).label}", x.rule, x.fooled, "control" if x.rule == "none" else "white-box")
        for model in (BASELINE, DEFENDED)
        for x in contest.yardsticks.get(model, ())
    ]
    if not bars:
        return None
    return Chart(
        title=f"What each attacker fools, {contest.ball}",
        bars=tuple(bars),
        note=(
            "Share of the images that were right before the attack: longer is worse for the network. In brackets what "
            "half of the successes cost at most; the thin line is the 95% Wilson interval."
        ),
    )


def _price(cell: QueryCell) -> str:
    """The median queries of a success, and what the attacker sees when it is not scores."""
    price = "" if cell.median is None else f"{cell.median:,.0f} queries"
    return ", ".join(part for part in ("labels only" if cell.access == "labels" else "", price) if part)
