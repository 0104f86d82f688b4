"""What an attacker puts in place of the device's derivative: a matrix that is drawn at random, or known.

A reading is a positive constant times |Ub|^2, and a positive constant in a gradient changes no attack here.
`RandomFeedback`, of training and of the `dfa` attacks, is in `groundglass.optics`; rules that are fitted are in
`fitted_rules.py`.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from groundglass.core import generator, normal
from groundglass.core.sealed import without_locals
from groundglass.core.settings import Positive, fit
from groundglass.optics.backward import BackwardRule, Held

Bits = Float[Tensor, "batch n"]
"""What enters the device, a row an image; and a gradient of the same shape."""


class _AtReadings:
    """A rule that takes the gradient at the readings, with its name in records and the sizes that its repr tells."""

    site: Literal["readings", "logits"] = "readings"

    def __init__(self, name: str, **sizes: int) -> None:
        self.name, self._sizes = name, sizes

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r}{''.join(f', {k}={v}' for k, v in self._sizes.items())})"


class StraightThrough(_AtReadings):
    """The identity: exact where nothing was binarised, the straight-through estimator where features became bits.

    For a head without a device, whose layers above are known (Bengio et al. 2013; BPDA with g(x) = x, Athalye et al. 2018).

    Args:
        name: the name in records: "bp" where it is exact, "ste" where it is not.
    """

    def __init__(self, name: str = "ste") -> None:
        super().__init__(name)

    def vjp(self, bits: Bits, grad: Bits) -> Bits:
        return grad


class LinearMatrix(_AtReadings):
    """`fa`: the sign is the identity, the device an unrelated real matrix R, without the factor 2Ub of a derivative.

    That is feedback alignment through the layer (Lillicrap et al. 2016). The paper's published code calls it BPDA.

    Args:
        matrix: R, [n, m].
        name: the name in records.
    """

    def __init__(self, matrix: Float[Tensor, "n m"], name: str = "fa") -> None:
        super().__init__(name, n=matrix.shape[0], m=matrix.shape[1])
        self._transposed = Held(matrix.detach().float().t().contiguous())

    @classmethod
    def draw(cls, in_features: int, out_features: int, *, seed: int) -> "LinearMatrix":
        """R with independent N(0, 1/m) entries."""
        draw = normal(in_features, out_features, generator=generator(seed, "linear matrix"))
        return cls(draw / out_features**0.5)

    def vjp(self, bits: Bits, grad: Float[Tensor, "batch m"]) -> Bits:
        (transposed,) = self._transposed.on(grad.device)
        return grad @ transposed


class Exact(_AtReadings):
    """`exact`: the derivative of |Ub|^p at the bits, grad_b = Re(conj(Ub) U)^T (p |Ub|^(p-2) grad), for a known U.

    With the true U it is an upper bound on what any attacker can know, which only a simulator can give. With a
    retrieved one it is what the retrieval is worth.

    Args:
        matrix: U, complex [m, n] as in equation (1) (a real one has no imaginary part). Held as two float32 planes.
        name: the name in records.
        saturation: |Ub|^p at and above which the camera reads full scale, so that a change cannot be seen and the
            derivative is zero; 255 for a U scaled to readings. None: no such level.
        power: p, of the device's camera.
    """

    @without_locals
    def __init__(
        self,
        matrix: Complex[Tensor, "m n"],
        name: str = "exact",
        *,
        saturation: float | None = None,
        power: float = 2.0,
    ) -> None:
        if matrix.ndim != 2:
            raise ValueError(f"U must be [m, n], not {tuple(matrix.shape)}")
        saturation = fit(Positive | None, saturation, "saturation")
        super().__init__(name, n=matrix.shape[1], m=matrix.shape[0])
        self._saturation, self.power = saturation, fit(Positive, power, "power")
        planes = [matrix.real, matrix.imag] if matrix.is_complex() else [matrix]
        self._planes = Held(*(plane.detach().to(torch.float32).contiguous() for plane in planes))

    @without_locals
    def vjp(self, bits: Bits, grad: Float[Tensor, "batch m"]) -> Bits:
        planes = self._planes.on(grad.device)
        fields = [bits @ plane.t() for plane in planes]
        if self._saturation is not None or self.power != 2:
            intensity = sum((field.square() for field in fields[1:]), fields[0].square())
        if self._saturation is not None:
            full = self._saturation ** (2 / self.power)
            grad = torch.where(intensity >= full, torch.zeros_like(grad), grad)
        if self.power != 2:
            # Of no light there is no direction.
            slope = intensity.pow(self.power / 2 - 1).masked_fill_(intensity == 0, 0.0)
            grad = grad * slope
        out = torch.zeros_like(bits)
        for field, plane in zip(fields, planes, strict=True):
            out += (grad * field) @ plane
        return out.mul_(self.power)


class DrawnMatrix(Exact):
    """`bpda-drawn`: |Wb|^p with a W of the attacker's own, from the same distribution as the device's matrix.

    Args:
        in_features, out_features: n and m.
        seed: of W, complex Gaussian with E|w|^2 = 1.
        power: p, see `Exact`.
    """

    def __init__(
        self, in_features: int, out_features: int, *, seed: int, name: str = "bpda-drawn", power: float = 2.0
    ) -> None:
        planes = normal(2, out_features, in_features, generator=generator(seed, "drawn matrix")) / 2**0.5
        super().__init__(torch.complex(planes[0], planes[1]), name, power=power)


class Normalised(_AtReadings):
    """A rule behind a step that scales each input to a fixed length: the derivative of both.

    Args:
        rule: of what follows, at site "readings".
        length: of the scaled inputs.
    """

    def __init__(self, rule: BackwardRule, length: float) -> None:
        super().__init__(rule.name)
        self._rule, self._length = rule, length

    def vjp(self, bits: Bits, grad: Float[Tensor, "batch m"]) -> Bits:
        norm = bits.norm(dim=1, keepdim=True).clamp_min(1e-12)
        along = bits / norm
        found = self._rule.vjp(along * self._length, grad) * (self._length / norm)
        # What changes the length alone changes nothing.
        return found - along * (found * along).sum(1, keepdim=True)

    def __repr__(self) -> str:
        return f"Normalised({self._rule!r}, length={self._length:g})"


class Mixture:
    """The mean of several rules: for a device that answers by one of several matrices, each as likely.

    What a linear readout makes of the mean readings is the mean of its logits over the matrices. So with an `Exact` of
    every matrix, and the gradient of a loss of mean logits (`Averaged`), this is the exact derivative of the expectation.

    Args:
        rules: at one site.
        name: the name in records; None: the first rule's.

    Raises:
        ValueError: no rules, or of different sites.
    """

    def __init__(self, rules: Sequence[BackwardRule], name: str | None = None) -> None:
        self._rules = tuple(rules)
        sites = {rule.site for rule in self._rules}
        if len(sites) != 1:
            raise ValueError(f"the rules of a mixture must share one site, not {sorted(sites) or 'none'}")
        self.site: Literal["readings", "logits"] = sites.pop()
        self.name = self._rules[0].name if name is None else name

    def vjp(self, bits: Bits, grad: Float[Tensor, "batch k"]) -> Bits:
        out = torch.zeros_like(bits)
        for rule in self._rules:
            out += rule.vjp(bits, grad)
        return out.div_(len(self._rules))

    def __repr__(self) -> str:
        return f"Mixture(name={self.name!r}, {len(self._rules)} x {self._rules[0]!r})"
