"""The ablation: which part of the defence brings which robustness, threat model by threat model."""

from typing import Any

from groundglass.old_report import ablation_figures
from groundglass.old_report.ablation_reading import Threat, part_names, read_networks, read_threats, records
from groundglass.old_report.ablation_words import caution_words, change_words, flat_words, threat_words
from groundglass.old_report.dot_rows import told
from groundglass.old_report.drawing import Drawing
from groundglass.old_report.sections import Rendered, Told
from groundglass.old_report.study import Study
from groundglass.old_report.tables import channel_note

_TITLES = {
    "white-box": "White-box: accuracy under attack",
    "black-box": "Black-box: images fooled within the budget",
    "transfer": "Transfer: accuracy on the images that all networks get right",
}
_CAPTIONS = {
    "white-box": "Accuracy under PGD, by the gradient that the attacker uses.",
    "black-box": "Images fooled within the budget, of those that were right at first.",
    "transfer": "Accuracy on the common images, which were made adversarial on another network.",
}
_HEADINGS = {
    "white-box": "Accuracy by gradient and radius",
    "black-box": "Images fooled by attack and radius",
    "transfer": "Accuracy by attack and radius",
}
_NOTES = {
    "white-box": "Accuracy is over all images, also those that were wrong before. With the threshold of a batch an answer "
    "hangs on the other images asked about: what fooled the network in the attack's batch may not in another, and is then "
    "not counted.",
    "black-box": "A share is of the images that were right at first. Median queries are over the images that were fooled; "
    "zero estimates are those of the gradient that came out as exactly zero.",
    "transfer": "Without an attack each of these networks gets all of these images right (with the threshold of a batch: in "
    "the batch in which it was asked, since its answers hang on that).",
}


class AblationSection:
    """The networks and their parts; then for each threat model words, a figure, a table."""

    def render(self, study: Study) -> Rendered | None:
        if not records(study, "attack", "query", "transfer"):
            return None
        threats = read_threats(study)
        networks = read_networks(study, threats)
        white = next((threat for threat in threats if threat.name == "white-box"), None)
        parts = [
            {
                "threat": threat,
                "title": _TITLES[threat.name],
                "heading": _HEADINGS[threat.name],
                "note": _NOTES[threat.name],
                "words": threat_words(threat, networks),
                "caution": caution_words(threat, white, networks),
                "flat": flat_words(threat) if threat.name == "black-box" else None,
                "drawing": _drawing(study, threat),
            }
            for threat in threats
        ]
        note = channel_note(records(study, "attack", "transfer"))
        context: dict[str, Any] = {
            "networks": networks,
            "parts": parts,
            "channels": note,
            "elsewhere": part_names(study),
        }
        progress = study.progress("ablation")
        return Rendered("ablation", "The ablation: what each part brings", "ablation.html.j2", context, progress)


def ablation_answer(study: Study) -> Told | None:
    """What the parts change, threat model by threat model, for the head of the page; None without an ablation."""
    if not records(study, "attack", "query", "transfer"):
        return None
    threats = read_threats(study)
    networks = read_networks(study, threats)
    white = next((threat for threat in threats if threat.name == "white-box"), None)
    said = []
    for threat in threats:
        caution = caution_words(threat, white, networks)
        words = [*threat_words(threat, networks)[-1:], *([caution] if caution else [])]
        said += [f"{_TITLES[threat.name].partition(':')[0]}: {words[0]}", *words[1:]] if words else []
    return Told(lead=change_words(threats, networks) or said[0], said=said) if said else None


def _drawing(study: Study, threat: Threat) -> Drawing | None:
    balls = ablation_figures.panels(threat)
    if not balls:
        return None
    rows, guide = ablation_figures.rows(threat, balls)
    reference = rows[guide.of].name.removesuffix(" (once more)") if guide else ""
    beside = f" Dotted lines repeat {reference}, which the variants below it are held against." if guide else ""
    return study.drawings.save(
        f"ablation-{threat.name}",
        ablation_figures.outcomes(threat, balls),
        alt=f"{_CAPTIONS[threat.name]} {told(rows, ablation_figures.titles(balls))}",
        caption=f"{_CAPTIONS[threat.name]} Lines are 95% Wilson intervals.{beside}",
    )
