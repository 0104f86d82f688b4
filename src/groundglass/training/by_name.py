"""Credit assignments by name."""

from collections.abc import Callable
from typing import Literal

from torch import nn

from groundglass.core import lookup
from groundglass.training.credit_assignment import BackProp, CreditAssignment, HybridDFA, check_defended
from groundglass.training.estimated import EstimatedDerivative
from groundglass.training.layerwise import DirectFeedback, FeedbackAlignment, SignSymmetry

#: Every credit assignment that can be named.
Credit = Literal["bp", "hybrid-dfa", "direct-feedback", "feedback-alignment", "sign-symmetry", "estimated-derivative"]

#: The network that is to be trained, and a seed -> the assignment.
CREDITS: dict[str, Callable[[nn.Module, int], CreditAssignment]] = {
    "bp": lambda model, seed: BackProp(),
    "hybrid-dfa": lambda model, seed: HybridDFA(),
    "direct-feedback": lambda model, seed: DirectFeedback(seed=seed),
    "feedback-alignment": lambda model, seed: FeedbackAlignment(seed=seed),
    "sign-symmetry": lambda model, seed: SignSymmetry(seed=seed),
    "estimated-derivative": lambda model, seed: EstimatedDerivative.fit(check_defended(model), seed=seed),
}


def make_credit(name: Credit, model: nn.Module, *, seed: int) -> CreditAssignment:
    """The credit assignment called `name`, with its usual settings.

    Args:
        model: the network that is to be trained. "estimated-derivative" measures its device now.
        seed: of what is drawn. The same one after an interruption.

    Raises:
        ValueError: an unknown name; as `EstimatedDerivative.fit`.
    """
    return lookup("credit assignment", name, CREDITS)(model, seed)
