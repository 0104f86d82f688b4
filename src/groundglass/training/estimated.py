"""Credit through an estimate of the device's derivative, measured once, before training."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from groundglass.attacks import FittedLinear, LinearMatrix
from groundglass.attacks.fitted_rules import FEWEST_PAIRS
from groundglass.core import generator, uniform
from groundglass.core.modes import evaluating
from groundglass.core.sealed import without_locals
from groundglass.core.settings import Count, fit
from groundglass.models import DefendedNetwork
from groundglass.models.wrappers import unwrapped
from groundglass.training.credit_assignment import check_defended

# Frames for each input of the device. A reading is linear in its bits but for a third of its variance, which is noise to the
# fit: with K frames a coefficient's square is 2K/N times its error's.
_FRAMES = 4
# Frames asked for at once.
_AT_ONCE = 500


class EstimatedDerivative:
    """The measured device going up, the derivative of a model of it coming down (physics-aware training, Wright et al. 2022).

    The model is linear: readings ~ A bits, by ridge regression on random bits, half of them ones. That is the
    device's derivative, averaged over inputs; at one input of a dense device the cosine with the exact one is about
    √½. Made by `fit`, which asks the device. Only then is anything measured that prediction would not measure
    anyway.

    Differences from the paper: its model is a deep network, fitted to inputs of the task; the binarisation is
    passed as the identity, its devices have none.

    A is as secret as the device: the object can't be pickled, no file has it. An interrupted training goes on with
    a fit on the same device with the same settings, made before `train` is called.

    Attributes:
        frames: that it was fitted to.
        held_out_r2: share of the readings' variance that the model explains, on a tenth of the frames that were
            held out.
    """

    def __init__(self, rule: LinearMatrix, *, fingerprint: str, frames: int, seed: int, held_out_r2: float) -> None:
        """See `fit`."""
        self._rule, self._fingerprint = rule, fingerprint
        self.frames, self.seed, self.held_out_r2 = frames, seed, held_out_r2

    @property
    def name(self) -> str:
        return f"estimated-derivative, {self.frames} frames, seed {self.seed}"

    @classmethod
    @torch.no_grad()
    @without_locals
    def fit(cls, network: DefendedNetwork, *, frames: int | None = None, seed: int = 0) -> "EstimatedDerivative":
        """Measure the device of a network, and fit. Nothing of the network is changed.

        Args:
            frames: to measure; None: 4 for each of its inputs. Fewer than its inputs are too few to see a
                derivative well.
            seed: of the bits.

        Raises:
            ValueError: no defended network, one without a device, or whose device takes floats; too few frames.
        """
        block, seed = check_defended(network).block, fit(int, seed, "seed")
        if block.optical is None:
            raise ValueError("this network has no device whose derivative could be estimated: train it with BackProp()")
        if block.encoding == "float":
            raise ValueError("the device of this network takes floats, and is fitted on bits: train with HybridDFA()")
        n = block.width
        frames = max(_FRAMES * n, FEWEST_PAIRS) if frames is None else fit(Count, frames, "frames")
        if frames < FEWEST_PAIRS:
            raise ValueError(f"`frames` (={frames}) must be at least {FEWEST_PAIRS}, and better {_FRAMES} times {n}")
        drawn = (uniform(frames, n, generator=generator(seed, "estimated derivative")) < 0.5).to(torch.float32)
        bits = drawn.to(block.readout.weight.device)
        with evaluating(block):
            readings = torch.cat([block.optical(part) for part in bits.split(_AT_ONCE)])
        found = FittedLinear.fit(bits, readings)
        rule = LinearMatrix(found.weights, "estimated")
        fingerprint = block.optical.device.fingerprint
        return cls(rule, fingerprint=fingerprint, frames=frames, seed=seed, held_out_r2=found.held_out_r2)

    def logits(self, model: nn.Module, images: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch classes"]:
        """As `CreditAssignment`. B is not used.

        Raises:
            ValueError: no defended network, one with another device than the estimate is of, or in a wrapper.
        """
        network = check_defended(unwrapped(model))
        if network is not model:
            raise ValueError(f"give the defended network itself, without its wrapper, {type(model).__name__}")
        if network.device is None:
            raise ValueError("this network has no device: the estimate is of one. Train with BackProp()")
        if network.device.fingerprint != self._fingerprint:
            raise ValueError(
                "the estimate is of another device than that of this network: make one by EstimatedDerivative.fit(network)"
            )
        return network.run(images, self._rule)

    def __repr__(self) -> str:
        return f"EstimatedDerivative(frames={self.frames}, seed={self.seed}, held_out_r2={self.held_out_r2:.3f})"
