"""Adversarial training, the control that any defence must be compared with: without the layer and with it."""

from groundglass.old_report.dot_rows import told
from groundglass.old_report.drawing import Drawing
from groundglass.old_report.hardened_figures import hardened_figure, hardened_rows, hardened_titles
from groundglass.old_report.hardened_reading import Hardened, read_hardened
from groundglass.old_report.hardened_words import hardened_answer, hardened_words, hollow_words, missing_words, signed
from groundglass.old_report.sections import Rendered
from groundglass.old_report.study import Study


class HardenedSection:
    """The study of adversarial training: four networks, untouched and in the worst case."""

    def render(self, study: Study) -> Rendered | None:
        found = read_hardened(study)
        if found is None:
            return None
        context = {
            "found": found,
            "lead": hardened_answer(found),
            "words": hardened_words(found),
            "missing": missing_words(found),
            "drawing": _drawing(study, found),
            "signed": signed,
        }
        title = "Adversarial training: what it buys, and what the layer adds to it"
        return Rendered("hardened", title, "hardened.html.j2", context)


def _drawing(study: Study, found: Hardened) -> Drawing:
    hollow = hollow_words(found)
    claimed = f" Hollow: what the paper's attacks claim for {hollow}." if hollow else ""
    return study.drawings.save(
        "adversarial-training",
        hardened_figure(found),
        alt="Right untouched, and in the worst case at each radius. "
        + told(hardened_rows(found), hardened_titles(found)),
        caption="Each network: right untouched, on the whole test set, and at each radius right after every attack of its "
        f"audit.{claimed} Lines are 95% Wilson intervals.",
    )
