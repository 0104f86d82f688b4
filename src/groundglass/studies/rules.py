"""An attacker's backward rules by name, made for one defended network."""

from typing import Any

import torch
from torch import nn

from groundglass.attacks import (
    DrawnMatrix,
    Exact,
    FittedLinear,
    FittedNetwork,
    LinearMatrix,
    Normalised,
    StraightThrough,
)
from groundglass.core import derive_seed, generator, lookup
from groundglass.evaluation import Record
from groundglass.models import DefendedNetwork
from groundglass.optics import BackwardRule, FloatInputLayer, RandomFeedback, SimulatedOPU, true_matrix
from groundglass.studies.context import Context
from groundglass.studies.retrieved import retrieved_matrix

#: Every rule a study can name, with what it is in a line.
RULES: dict[str, str] = {
    "bp": "backpropagation, for a network without an optical layer",
    "ste": "the binarisation as the identity (straight-through), the rest as it is, for a linear layer on bits",
    "dfa": "direct feedback alignment with the B that trained the network",
    "dfa-fresh": "direct feedback alignment with a B of the attacker's own",
    "fa": "sign as identity, U as an unrelated linear matrix: what the paper's code calls BPDA",
    "bpda-drawn": "|Wx|^2 with a W of the attacker's own, from the true distribution",
    "bpda-fit-linear": "a ridge regression from the bits to the logits, fitted on natural images",
    "bpda-fit-network": "a small network from the bits to the logits, fitted on natural images",
    "bpda-retrieved": "a U that was retrieved from the device's readings",
    "exact": "the true U: an upper bound that only a simulator can give",
    "exact-blurred": "a U between the true one and one drawn at random: how good must a retrieval be?",
}


def check_rules(names: tuple[str, ...]) -> None:
    """Refuse an unknown rule, with the nearest name."""
    for name in names:
        lookup("rule", name, RULES)


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
        return target.seen_through(_matrix_rule(rule, target, context, retrieved, matrix_error, seed)), None
    made, fit = make_rule(rule, target, trained, context, fit_images=fit_images, seed=seed)
    return target.seen_through(made), fit


def make_rule(
    name: str, network: DefendedNetwork, trained: Record, context: Context, *, fit_images: int, seed: int
) -> tuple[BackwardRule, dict[str, Any] | None]:
    """The rule, and what its fit cost and reached where it was fitted."""

    def make() -> tuple[BackwardRule, dict[str, Any] | None]:
        return _make(name, network, trained, context, fit_images, derive_seed(seed, "rule", name))

    made: tuple[BackwardRule, dict[str, Any] | None] = context.memo(f"{trained.key}/{name}/{fit_images}/{seed}", make)
    return made


def _make(
    name: str, network: DefendedNetwork, trained: Record, context: Context, fit_images: int, seed: int
) -> tuple[BackwardRule, dict[str, Any] | None]:
    lookup("rule", name, RULES)
    block, device = network.block, network.device
    classes = block.readout.out_features
    if name == "dfa":
        if network.feedback is None:
            raise ValueError("the rule 'dfa' needs the training feedback B, which was destroyed: use 'dfa-fresh'")
        return RandomFeedback(network.feedback, "dfa"), None
    if name == "dfa-fresh":
        return RandomFeedback.fresh(classes, block.width, seed=seed), None
    if name in ("bpda-fit-linear", "bpda-fit-network"):
        bits, logits = context.memo(f"pairs/{trained.key}/{fit_images}", lambda: _observe(network, context, fit_images))
        kind = FittedLinear if name == "bpda-fit-linear" else FittedNetwork
        fitted = kind.fit(bits, logits, seed=seed)
        return fitted, {"n_images": fitted.n_images, "held_out_r2": fitted.held_out_r2}
    if device is None:
        if name != ("bp" if block.encoding == "float" else "ste"):
            raise ValueError(f"the rule {name!r} is not for the linear head of {trained.name}")
        return StraightThrough(name), None
    n, m = device.in_features, device.out_features
    if name == "fa":
        return LinearMatrix.draw(n, m, seed=seed), None
    if name == "bpda-drawn":
        return DrawnMatrix(n, m, seed=seed), None
    if name == "exact":
        matrix = true_matrix(device)  # refuses a device that is not simulated
        assert isinstance(device, SimulatedOPU)
        if isinstance(block.optical, FloatInputLayer):
            return Normalised(Exact(matrix), block.optical.length), None
        return Exact(matrix, saturation=device.camera.top if device.camera.bits is not None else None), None
    raise ValueError(f"the rule {name!r} is for a network without an optical layer")


def _matrix_rule(
    name: str, network: DefendedNetwork, context: Context, retrieved: Record | None, error: float | None, seed: int
) -> Exact:
    """The exact derivative of another matrix than the true one."""
    device = network.device
    assert isinstance(device, SimulatedOPU)
    if name == "bpda-retrieved":
        if retrieved is None:
            raise ValueError("the rule 'bpda-retrieved' needs a retrieved matrix")
        matrix = retrieved_matrix(retrieved, context)
    else:
        if error is None:
            raise ValueError("the rule 'exact-blurred' needs a `matrix_error`")
        matrix = blurred(true_matrix(device), error, derive_seed(seed, "blur", str(error)))
    return Exact(matrix, name, saturation=device.camera.top if device.camera.bits is not None else None)


def blurred(matrix: torch.Tensor, error: float, seed: int) -> torch.Tensor:
    """Rows as long as the true ones and this far from them, relative to their length: 0 is U, sqrt(2) a draw of one's own."""
    share = 1 - error**2 / 2
    noise = torch.view_as_complex(torch.randn(*matrix.shape, 2, generator=generator(seed, "blur")))
    size = matrix.abs().square().mean(1, keepdim=True).sqrt() / 2**0.5
    return share * matrix + (1 - share**2) ** 0.5 * size * noise


@torch.no_grad()
def _observe(network: DefendedNetwork, context: Context, n_images: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What a white-box attacker sees by running the deployed network on natural images: bits and logits."""
    subset = context.dataset.train.head(n_images)
    pairs = [
        network.observe(subset.floats(slice(start, start + 500)).to(context.where))
        for start in range(0, len(subset), 500)
    ]
    return torch.cat([b for b, _ in pairs]), torch.cat([logits for _, logits in pairs])
