"""The network as an attacker differentiates it: the rules of `groundglass.adaptive`, with what a study has at hand."""

from typing import Any

import torch
from torch import nn

from groundglass.adaptive import FITTED, collapse, fit_facts, make_rule, observe
from groundglass.core import derive_seed, generator
from groundglass.models import DefendedNetwork
from groundglass.optics import BackwardRule, true_matrix
from groundglass.results import Record
from groundglass.studies.cells.retrieve import retrieved_matrix
from groundglass.studies.engine.context import Context


def seen_by(
    rule: str,
    trained: Record,
    context: Context,
    *,
    fit_images: int,
    seed: int,
    retrieved: Record | None = None,
    matrix_error: float | None = None,
) -> tuple[nn.Module, dict[str, Any] | None]:
    """The network as an attacker with this rule differentiates it, and what a fitted rule cost and reached.

    Args:
        fit_images: of the fitted rules.
        retrieved, matrix_error: see `AttackCell`.

    Raises:
        ValueError: the rule is not for this network, or lacks what it needs.
    """
    target = context.target(trained)
    if rule == "none":
        return target, None
    if not isinstance(target, DefendedNetwork):
        if rule != "bp":
            raise ValueError(f"{trained.name} has no optical layer: the rule 'bp' attacks it")
        return target, None
    if rule == "bpda-retrieved":
        matrix = None if retrieved is None else retrieved_matrix(retrieved, context)
        return target.seen_through(make_rule(rule, target, seed=seed, matrix=matrix)), None
    if rule == "exact-blurred":
        if matrix_error is None:
            raise ValueError("the rule 'exact-blurred' needs a `matrix_error`")
        assert target.device is not None
        matrix = blurred(true_matrix(target.device), matrix_error, derive_seed(seed, "blur", str(matrix_error)))
        return target.seen_through(make_rule(rule, target, seed=seed, matrix=matrix)), None

    def pairs() -> Any:
        subset = context.dataset.train.head(fit_images)
        return context.memo(f"pairs/{trained.key}/{fit_images}", lambda: observe(target, subset))

    def make() -> BackwardRule:
        given = pairs if rule in FITTED else None
        # The network learns no more: what lies above the device can be worked into the rule.
        return collapse(make_rule(rule, target, seed=derive_seed(seed, "rule", rule), pairs=given), target)

    # A rule is made once in a run: it may hold a drawn matrix, or have been fitted.
    made: BackwardRule = context.memo(f"{trained.key}/{rule}/{fit_images}/{seed}", make)
    return target.seen_through(made), fit_facts(made)


def blurred(matrix: torch.Tensor, error: float, seed: int) -> torch.Tensor:
    """Rows as long as the true ones and this far from them, relative to their length: 0 is U, sqrt(2) a draw of one's own."""
    share = 1 - error**2 / 2
    noise = torch.view_as_complex(torch.randn(*matrix.shape, 2, generator=generator(seed, "blur")))
    size = matrix.abs().square().mean(1, keepdim=True).sqrt() / 2**0.5
    return share * matrix + (1 - share**2) ** 0.5 * size * noise
