"""What a redraw of the matrix costs, and which attacks made before it are undone by it."""

from typing import Any

from groundglass.old_report import redraw_figures
from groundglass.old_report.dot_rows import told
from groundglass.old_report.drawing import Drawing
from groundglass.old_report.redraw_reading import Redraw, Survival, read_redraws, read_survivals
from groundglass.old_report.redraw_words import afresh_words, group_words, tuning_words, undone_words
from groundglass.old_report.sections import Rendered, Told
from groundglass.old_report.study import Study


class RedrawSection:
    """The redraw study: accuracy before and after, seconds, and what is left of the attacks."""

    def render(self, study: Study) -> Rendered | None:
        redraws = read_redraws(study)
        if not redraws:
            return None
        models = list(dict.fromkeys(one.model for one in redraws))
        parts = [
            _part(study, [one for one in redraws if one.model == model], suffix="" if i == 1 else f"-{i}")
            for i, model in enumerate(models, start=1)
        ]
        title = "A new matrix: what a redraw costs, and what it undoes"
        return Rendered("redraw", title, "redraw.html.j2", {"parts": parts}, study.progress("redraw"))


def redraw_answer(study: Study) -> Told | None:
    """The redraws in sentences, for the head of the page; None while there is none."""
    redraws = read_redraws(study)
    if not redraws:
        return None
    first = [one for one in redraws if one.model == redraws[0].model]
    survivals = read_survivals(study, first)
    tuning, groups = tuning_words(first), group_words(survivals)
    return Told(lead=" ".join(groups) or tuning[0], said=[*tuning, *undone_words(survivals)])


def _part(study: Study, redraws: list[Redraw], *, suffix: str) -> dict[str, Any]:
    survivals = read_survivals(study, redraws)
    balls = list(dict.fromkeys(one.ball for one in survivals))
    return {
        "model": redraws[0].model,
        "redraws": redraws,
        "survivals": survivals,
        "ball": balls[0] if len(balls) == 1 else "",
        "tuning": " ".join(tuning_words(redraws)),
        "undone": [" ".join(words) for words in (undone_words(survivals), afresh_words(survivals)) if words],
        "accuracy": _accuracy(study, redraws, f"redraw{suffix}"),
        "surviving": _surviving(study, survivals, redraws, f"redraw-survivors{suffix}"),
    }


def _accuracy(study: Study, redraws: list[Redraw], name: str) -> Drawing:
    return study.drawings.save(
        name,
        redraw_figures.accuracies(redraws),
        alt="Accuracy before a redraw, untuned, and tuned. " + told(redraw_figures.accuracy_rows(redraws), ("",)),
        caption="Each redraw: accuracy with the old U, with the new U and the old classifier, and after tuning. "
        "Lines are 95% Wilson intervals.",
    )


def _surviving(study: Study, survivals: list[Survival], redraws: list[Redraw], name: str) -> Drawing | None:
    figure = redraw_figures.survivors(survivals, redraws)
    if figure is None:
        return None
    rows = redraw_figures.survival_rows(survivals, redraws)
    return study.drawings.save(
        name,
        figure,
        alt="Images that fooled the old network and still fool the redrawn one. " + told(rows, ("",)),
        caption="Of the images that fooled the old network, the share that still fools the redrawn and tuned one, by "
        "attack. Lines are 95% Wilson intervals.",
    )
