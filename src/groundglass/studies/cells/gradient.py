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
        ValueError: the rule is not for this network.
    """
    target = context.target(trained)
    if not isinstance(target, DefendedNetwork):
        if rule not in ("bp", "none"):
            raise ValueError(f"{trained.name} has no optical layer: the rule 'bp' attacks it")
        return target, None
    if rule == "none":
        return target, None
    if rule in ("bpda-retrieved", "exact-blurred"):
        matrix = _matrix(rule, target, context, retrieved, matrix_error, seed)
        return target.seen_through(make_rule(rule, target, seed=seed, matrix=matrix)), None
    made = _made(rule, target, trained, context, fit_images, seed)
    return target.seen_through(made), fit_facts(made)


def _made(
    name: str, network: DefendedNetwork, trained: Record, context: Context, fit_images: int, seed: int
) -> BackwardRule:
    """A rule is made once in a run: it may hold a drawn matrix, or have been fitted."""

    def pairs() -> Any:
        subset = context.dataset.train.head(fit_images)
        return context.memo(f"pairs/{trained.key}/{fit_images}", lambda: observe(network, subset))

    def make() -> BackwardRule:
        given = pairs if name in FITTED else None
        # The network learns no more: what lies above the device can be worked into the rule.
        return collapse(make_rule(name, network, seed=derive_seed(seed, "rule", name), pairs=given), network)

    made: BackwardRule = context.memo(f"{trained.key}/{name}/{fit_images}/{seed}", make)
    return made


def _matrix(
    name: str, network: DefendedNetwork, context: Context, retrieved: Record | None, error: float | None, seed: int
) -> torch.Tensor | None:
    """The matrix in the true one's place."""
    if name == "bpda-retrieved":
        return None if retrieved is None else retrieved_matrix(retrieved, context)
    if error is None:
        raise ValueError("the rule 'exact-blurred' needs a `matrix_error`")
    assert network.device is not None
    return blurred(true_matrix(network.device), error, derive_seed(seed, "blur", str(error)))


def blurred(matrix: torch.Tensor, error: float, seed: int) -> torch.Tensor:
    """Rows as long as the true ones and this far from them, relative to their length: 0 is U, sqrt(2) a draw of one's own."""
    share = 1 - error**2 / 2
    noise = torch.view_as_complex(torch.randn(*matrix.shape, 2, generator=generator(seed, "blur")))
    size = matrix.abs().square().mean(1, keepdim=True).sqrt() / 2**0.5
    return share * matrix + (1 - share**2) ** 0.5 * size * noise
