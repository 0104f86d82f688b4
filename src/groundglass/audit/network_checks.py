"""Signs that a network cannot be judged by its images one by one, whatever is claimed of it."""

from groundglass.audit.findings import Check
from groundglass.audit.ledger import Ledger
from groundglass.audit.probes import Answers
from groundglass.audit.signs import ATHALYE, CARLINI, FEW, Findings, Listed, Measured, few, made


def network_checks(found: Findings, ledger: Ledger) -> tuple[Check, ...]:
    """Every check of the network, in the order of the list."""
    return tuple(
        made(name, measure(found, ledger), threshold, source, _ADVICE[name])
        for name, measure, threshold, source in _CHECKS
    )


def _answers(found: Findings) -> Answers:
    assert found.answers is not None
    return found.answers


def _outputs(found: Findings, ledger: Ledger) -> Measured:
    answers = _answers(found)
    mode = "; it was handed over in train mode and audited in eval mode" if answers.training else ""
    kind = "probabilities" if answers.probabilities else "logits"
    return not answers.probabilities, f"images in {ledger.units.span}, the model gives {kind}{mode}"


def _every_time(found: Findings, ledger: Ledger) -> Measured:
    share = _answers(found).again
    told = f"{share:.1%} of the images change class in five identical calls"
    return few(share, _answers(found).images, FEW), told


def _any_batch(found: Findings, ledger: Ledger) -> Measured:
    share = _answers(found).elsewhere
    told = f"{share:.1%} of the others change class alone, or among other images"
    return few(share, _answers(found).images, FEW), told


def _moves(found: Findings, ledger: Ledger) -> Measured:
    told = f"around {found.flat:.1%} of the images the loss is the same at 64 random points"
    return few(found.flat, found.probed, 0.05), told


def _images(found: Findings, ledger: Ledger) -> Measured:
    share = ledger.withdrawn / max(1, ledger.claims)
    told = (
        f"of {ledger.claims} successes {ledger.withdrawn} did not fool a fresh pass, and do not count; {ledger.outside} "
        f"images outside the ball or {ledger.units.span}; {ledger.miscounted} passes counted wrongly"
    )
    return share <= FEW and not ledger.outside and not ledger.miscounted, told


_CHECKS: Listed = (
    ("inputs and outputs", _outputs, "images in [0, 1], logits", CARLINI),
    ("same answer every time", _every_time, "at most 1%", ATHALYE),
    ("same answer in any batch", _any_batch, "at most 1%", CARLINI),
    ("loss moves around the images", _moves, "at most 5%", CARLINI),
    ("adversarial images hold", _images, "at most 1% withdrawn, none outside, every pass counted", CARLINI),
)

#: What to try where a check fails.
_ADVICE = {
    "inputs and outputs": "return logits: a loss on probabilities has the gradient of a second softmax",
    "same answer every time": "the model draws lots: judge it by the mean of many passes, and attack it with gradients "
    "averaged over them (EOT)",
    "same answer in any batch": "an answer depends on the other images in the batch (BatchNorm in train mode, a threshold "
    "over the batch): make it a function of the image",
    "loss moves around the images": "the loss is flat to rounding: climb the margin of the logits, in double precision, or "
    "with longer steps",
    "adversarial images hold": "a success that a fresh pass does not see is chance, or rounding at a threshold: judge by "
    "fresh passes",
}
