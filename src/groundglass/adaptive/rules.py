"""An attacker's backward rules by name, made for one defended network."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from groundglass.adaptive import attackers
from groundglass.attacks import (
    DrawnMatrix,
    Exact,
    FittedLinear,
    FittedNetwork,
    LinearMatrix,
    Mixture,
    Normalised,
    StraightThrough,
)
from groundglass.core import derive_seed, input_dtype, lookup
from groundglass.core.modes import evaluating
from groundglass.core.sealed import without_locals
from groundglass.core.settings import Count, fit
from groundglass.data import ImagesLike, batches, given
from groundglass.models import Defended, DefendedEnsemble, MemberRules
from groundglass.optics import (
    BackwardRule,
    FloatInputLayer,
    MovingDevice,
    OpticalDevice,
    RandomFeedback,
    true_matrix,
)
from groundglass.optics.camera import camera_of

#: Every rule that can be named, with what it does: the registry without its control. `make_rule` makes them, but for those that
#: need the lower weights alone, which no backward rule goes with: see `stand_in`.
RULES: dict[str, str] = {one.name: one.says for one in attackers.RULES if not one.is_control}

#: Rules that are fitted to what the deployed network gives on natural images.
FITTED: dict[str, type[FittedLinear] | type[FittedNetwork]] = {
    rule.name: rule for rule in (FittedLinear, FittedNetwork)
}

#: Bits that enter the device and the logits that come out, a row an image; of an ensemble those of its parts, side by side.
Pairs = tuple[Float[Tensor, "k n"], Float[Tensor, "k classes"]]


def check_rules(names: tuple[str, ...]) -> None:
    """Refuse an unknown rule, with the nearest name."""
    for name in names:
        lookup("rule", name, RULES)


@without_locals
def make_rule(
    name: str,
    network: Defended,
    *,
    seed: int,
    pairs: Callable[[], Pairs] | None = None,
    matrix: Complex[Tensor, "m n"] | Sequence[Tensor] | None = None,
) -> BackwardRule:
    """The rule called `name`, for this network; for an ensemble `MemberRules`, such a rule for every part at once.

    Args:
        network: with a device or a linear head; or an ensemble of such.
        seed: of what the attacker draws or fits; what it draws for one part of an ensemble is not what it draws for another.
        pairs: what `observe` gives; called for the fitted rules alone.
        matrix: of "bpda-retrieved" and "exact-blurred", in place of the true one, and on its scale; for an ensemble one a part.

    Raises:
        ValueError: an unknown rule, one that is not for this network, or one that lacks what it needs.
        TypeError: "exact" for a device that is not simulated: nobody has its matrix.
    """
    lookup("rule", name, RULES)
    if attackers.attacker(name).needs == "lower weights":
        raise ValueError(
            f"the rule {name!r} is no backward rule, as it goes no farther than the layer: give an attack "
            f"StandInAccess(network, stand_in({name!r}, network, ...))"
        )
    if isinstance(network, DefendedEnsemble):
        return _of_each(name, network, seed, pairs, matrix)
    if not isinstance(matrix, Tensor | None):
        raise ValueError("`matrix` must be one tensor: this network has one device")
    (network,) = network.parts
    block, device = network.block, network.device
    if name == "dfa":
        if network.feedback is None:
            raise ValueError("the rule 'dfa' needs the training feedback B, which was destroyed: use 'dfa-fresh'")
        return RandomFeedback(network.feedback, "dfa")
    if name == "dfa-fresh":
        # The error is at the logits, wherever in the network the block is.
        return RandomFeedback.fresh(network.classes, block.width, seed=seed)
    if name in FITTED:
        if pairs is None:
            raise ValueError(
                f"the rule {name!r} is fitted to bits and logits of natural images: give "
                "pairs=lambda: observe(network, dataset.train)"
            )
        bits, logits = pairs()
        return FITTED[name].fit(bits, logits, seed=seed)
    if device is None:
        if name != ("bp" if block.encoding == "float" else "ste"):
            raise ValueError(f"the rule {name!r} is not for the linear head of this network")
        return StraightThrough(name)
    n, m = device.in_features, device.out_features
    if name == "fa":
        return LinearMatrix.draw(n, m, seed=seed)
    if name == "bpda-drawn":
        return DrawnMatrix(n, m, seed=seed, power=camera_of(device).power)
    if name == "exact" and isinstance(device, MovingDevice):
        return Mixture([Exact(true_matrix(each), **_seen(each)) for each in device.devices])
    if name == "exact":
        found = true_matrix(device)  # refuses a device that is not simulated
        if isinstance(block.optical, FloatInputLayer):
            return Normalised(Exact(found, power=camera_of(device).power), block.optical.length)
        return Exact(found, **_seen(device))
    if name in ("bpda-retrieved", "exact-blurred"):
        if matrix is None:
            raise ValueError(f"the rule {name!r} needs a `matrix`: `groundglass retrieve` writes one")
        if matrix.shape != (m, n):
            raise ValueError(f"the matrix is {tuple(matrix.shape)}; this network's device has U of shape {(m, n)}")
        return Exact(matrix, name, **_seen(device))
    raise ValueError(f"the rule {name!r} is for a network without an optical layer")


def _of_each(
    name: str,
    ensemble: DefendedEnsemble,
    seed: int,
    pairs: Callable[[], Pairs] | None,
    matrix: Tensor | Sequence[Tensor] | None,
) -> MemberRules:
    """A rule for every part."""
    parts = ensemble.parts
    given: Sequence[Tensor | None] = [None] * len(parts)
    if matrix is not None:
        if isinstance(matrix, Tensor) or len(matrix) != len(parts):
            raise ValueError(f"`matrix` must be {len(parts)} matrices, one for each device of the ensemble")
        given = matrix
    seen: Sequence[Callable[[], Pairs] | None] = [None] * len(parts)
    if pairs is not None and name in FITTED:
        bits, logits = pairs()
        widths = [part.block.width for part in parts]
        if logits.shape[1] % len(parts) or bits.shape[1] != sum(widths):
            raise ValueError(
                "`pairs` are not of this ensemble: observe(ensemble, images) gives those of its parts side by side"
            )
        columns = zip(bits.split(widths, 1), logits.chunk(len(parts), 1), strict=True)
        seen = [lambda own=own: own for own in columns]  # type: ignore[misc]
    made = [
        make_rule(name, part, seed=derive_seed(seed, "part", number), pairs=its, matrix=own)
        for number, (part, its, own) in enumerate(zip(parts, seen, given, strict=True))
    ]
    return MemberRules(made, name)


def fit_facts(rule: BackwardRule) -> dict[str, Any] | None:
    """How many images a fitted rule used and how well it fits, over an ensemble's parts their mean; None for another rule."""
    if isinstance(rule, MemberRules):
        each = [facts for one in rule.rules if (facts := fit_facts(one)) is not None]
        if not each:
            return None
        return {**each[0], "held_out_r2": sum(one["held_out_r2"] for one in each) / len(each)}
    if not isinstance(rule, FittedLinear | FittedNetwork):
        return None
    return {"n_images": rule.n_images, "held_out_r2": rule.held_out_r2}


@torch.no_grad()
def observe(network: Defended, images: ImagesLike, *, batch_size: int = 500) -> Pairs:
    """What a white-box attacker sees by running the deployed network on natural images: bits and logits. Of an ensemble those of
    its parts, side by side: whoever has the weights sees what each of them says.

    In eval mode; the mode is put back. No images give no pairs, [0, N] and [0, 0], and the network is not asked.

    Args:
        images: in any form that `groundglass.data.given` takes.
    """
    parts = batches(given(images), batch_size=fit(Count, batch_size, "batch_size"), seed=0, epoch=0, shuffle=False)
    where = next(network.parameters()).device
    with evaluating(network):
        found = [network.observe(batch.images.to(where, input_dtype(network))) for batch in parts]
    if not found:
        none = torch.zeros(0, 0, dtype=torch.float32, device="cpu")
        return none.reshape(0, sum(part.block.width for part in network.parts)), none
    return torch.cat([bits for bits, _ in found]), torch.cat([logits for _, logits in found])


def _seen(device: OpticalDevice) -> dict[str, Any]:
    """What a camera makes of |Ub|: its power, and the reading that is full scale."""
    camera = camera_of(device)
    return {"saturation": camera.top if camera.bits is not None else None, "power": camera.power}
