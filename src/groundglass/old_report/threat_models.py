"""Who the attackers are: what each must know, what it costs, and whether such an attacker can exist.

Sources: the paper, sections 2.2 and 3.1, and its published code, which differ (see docs); the usual checks of a
robustness claim, Athalye et al. 2018, Carlini et al. 2019.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Attacker:
    """What stands in for the device's derivative when this attacker differentiates.

    Attributes:
        rule: the name in records.
        label: a few characters, for a figure.
        sentence: the whole threat model in a sentence.
        knows: what it must know or have.
        costs: beyond one forward and one backward pass a step.
        realistic: "yes", "no" or "control": can somebody who was not given the secret be this attacker?
        adaptive: made to break this very defence; the paper's own attack (DFA) and the control are not.
    """

    rule: str
    label: str
    sentence: str
    knows: str
    costs: str
    realistic: str
    adaptive: bool

    @property
    def is_control(self) -> bool:
        return self.realistic == "control"


_DIGITAL = "every digital weight"

ATTACKERS: tuple[Attacker, ...] = (
    Attacker(
        rule="bp",
        label="BP",
        sentence=(
            "Plain backpropagation through an ordinary network: the standard white-box attack, and the yardstick "
            "for what an undefended network withstands."
        ),
        knows=f"{_DIGITAL}; there is no device",
        costs="nothing more",
        realistic="yes",
        adaptive=False,
    ),
    Attacker(
        rule="ste",
        label="straight-through",
        sentence=(
            "Takes a binarisation for the identity and goes through the known linear layer behind it: the usual attack "
            "on a network that rounds and has no device (in the ablation, BIN)."
        ),
        knows=f"{_DIGITAL}; there is no device",
        costs="nothing more",
        realistic="yes",
        adaptive=False,
    ),
    Attacker(
        rule="dfa",
        label="DFA",
        sentence=(
            "Skips the device with the feedback matrix B of the training, as the paper's text says: strong only as "
            "far as the network has aligned with B, since B holds nothing about the device."
        ),
        knows=f"{_DIGITAL} and B, which prediction does not need, so that a defender can destroy it",
        costs="nothing more",
        realistic="yes",
        adaptive=False,
    ),
    Attacker(
        rule="dfa-fresh",
        label="DFA (fresh B)",
        sentence=(
            "Skips the device with a feedback matrix of the attacker's own: what the paper's published code did in "
            "effect, because it never saved B; whoever withstands only this has not been tested."
        ),
        knows=_DIGITAL,
        costs="drawing a random matrix",
        realistic="yes",
        adaptive=False,
    ),
    Attacker(
        rule="fa",
        label="FA",
        sentence=(
            "Takes the device for an unrelated random linear matrix (feedback alignment): what the paper's code "
            "called BPDA, without the factor 2Ux of the true derivative, so a weak stand-in."
        ),
        knows=_DIGITAL,
        costs="drawing a random matrix",
        realistic="yes",
        adaptive=True,
    ),
    Attacker(
        rule="bpda-drawn",
        label="BPDA (drawn W)",
        sentence=(
            "Uses the law of the device, |Wx|², with a W of the attacker's own: right in distribution, but the "
            "gradient of another device, so it says what knowing the physics without the secret is worth."
        ),
        knows=f"{_DIGITAL} and the physics, which is public",
        costs="a second product with a matrix of the device's size each step",
        realistic="yes",
        adaptive=True,
    ),
    Attacker(
        rule="bpda-fit-linear",
        label="BPDA (linear fit)",
        sentence=(
            "Watches the bits that enter the device and the logits that come out while the deployed network runs "
            "on natural images, and fits a linear map (ridge): this needs no secret and no say over the device."
        ),
        knows=f"{_DIGITAL}; may run the network on images of its own",
        costs="one pass over those images, seconds of fitting",
        realistic="yes",
        adaptive=True,
    ),
    Attacker(
        rule="bpda-fit-network",
        label="BPDA (network fit)",
        sentence=(
            "Watches the same bits and logits, and fits a small neural network to them: the most flexible stand-in "
            "here that anyone who can run the deployed network can make."
        ),
        knows=f"{_DIGITAL}; may run the network on images of its own",
        costs="one pass over those images, minutes of fitting",
        realistic="yes",
        adaptive=True,
    ),
    Attacker(
        rule="exact",
        label="exact U",
        sentence=(
            "Has the true matrix U: an upper bound that only a simulator can give, and the best that an attacker who "
            "retrieved U from the device could do; the binarisation's slope is still a guess."
        ),
        knows=f"{_DIGITAL} and the secret itself",
        costs="a product with U each step; first U, which is minutes of work for whoever may query the device",
        realistic="no",
        adaptive=True,
    ),
    Attacker(
        rule="none",
        label="random noise",
        sentence=(
            "Adds noise of the allowed size without looking at the network: a control, which every real attack must beat."
        ),
        knows="nothing",
        costs="no gradient at all",
        realistic="control",
        adaptive=False,
    ),
)

RETRIEVAL = (
    "What the secret is worth: at sizes like these (the paper's are 512 to 2,000 bits in, 8,000 to 10,000 readings "
    "out) U can be retrieved in minutes on two cores by whoever may put inputs of their choice into the device and "
    "read what comes out, with about 12 queries for each input bit. The layer is safe only as far as access to the "
    "device is denied, U is redrawn before that much has been measured, or noise spoils the measurement."
)

_BY_RULE = {attacker.rule: attacker for attacker in ATTACKERS}


def attacker(rule: str) -> Attacker:
    """The attacker of that name; one that this version does not know is said to be unknown, not left out."""
    if rule in _BY_RULE:
        return _BY_RULE[rule]
    return Attacker(
        rule=rule,
        label=rule,
        sentence="These records come from a version that knows more attackers: rebuild the page with that version.",
        knows="not described here",
        costs="not described here",
        realistic="not said",
        adaptive=True,
    )


def rank(rule: str) -> int:
    """Position in the order used everywhere: from the paper's attackers to the adaptive ones, the control last."""
    rules = list(_BY_RULE)
    return rules.index(rule) if rule in rules else len(rules)
