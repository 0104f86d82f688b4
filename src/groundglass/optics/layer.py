"""The optical device as a layer: bits in, normalised readings out."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from groundglass.core import NonFiniteError, generator
from groundglass.core.sealed import without_locals
from groundglass.kernels.tensor import is_card
from groundglass.optics.backward import Held
from groundglass.optics.device import OpticalDevice, check_device, check_same_device, known_bits
from groundglass.optics.opaque import Opaque, measure
from groundglass.optics.simulated import SimulatedOPU
from groundglass.optics.true_matrix import true_matrix

#: What features become on their way to the device, or to a linear layer in its place. "bits": one bit a feature, above
#: the mean of its own sample. "bits-zero": above 0, a threshold for all samples: what comes before may learn it, as a bias.
#: "bits-batch": above the mean of the whole batch, as the paper's published code does.
#: "float": as they are, which no binary device can take.
Encoding = Literal["bits", "bits-batch", "bits-zero", "float"]

#: What torch calls the fingerprint in a `state_dict`, after the layer's own name.
EXTRA = "_extra_state"
# Bytes of a fingerprint.
_LONGEST = 1000


def binarise(features: Float[Tensor, "batch n"]) -> Float[Tensor, "batch n"]:
    """One bit a feature, 1. where it is above the mean of its own sample.

    The threshold is the sample's alone: the published code subtracts the mean over the whole batch, which makes a
    prediction depend on the other images that happen to be asked about. A sample with NaN or infinity in it gets NaN.
    """
    return _above(features, features.mean(dim=1, keepdim=True))


def encode(features: Float[Tensor, "batch n"], encoding: Encoding) -> Float[Tensor, "batch n"]:
    """Features as they enter the device, without a gradient.

    A sample with a feature that is NaN or infinite has NaN for bits: `as_bytes` refuses them.
    With "bits-batch" a sample's bits depend on the others of its batch: that variant is there to be compared with.
    """
    features = features.detach()
    if encoding == "float":
        return features
    if encoding == "bits-batch":
        return _above(features, features.mean())
    mean = features.mean(dim=1, keepdim=True)
    return _above(features, mean) if encoding == "bits" else _above(features, mean, mean * 0)


def _above(features: Tensor, mean: Tensor, threshold: Tensor | None = None) -> Tensor:
    """Bits; NaN where the mean is not finite: no comparison with NaN is true, so a threshold alone would hide it."""
    return (features > (mean if threshold is None else threshold)).to(features.dtype).add_(mean * 0)


def as_bytes(bits: Float[Tensor, "batch n"]) -> UInt8[Tensor, "batch n"]:
    """Bits as a device takes them.

    Raises:
        NonFiniteError: the features that they were made of are NaN or infinite.
    """
    # One pass: a sum is NaN if anything in it is.
    if bits.is_floating_point() and bool(bits.sum().isnan()):
        bad = int(bits.isnan().any(1).sum())
        raise NonFiniteError(
            f"the features that enter the optical layer are NaN or infinite for {bad} of {len(bits)} images: check the "
            "weights below the layer, and the images"
        )
    return bits.to(torch.uint8)


def _unlooked(inputs: Float[Tensor, "batch n"]) -> tuple[UInt8[Tensor, "batch n"], Float[Tensor, "batch 1"]]:
    """Bits as a device takes them, and what to add to their readings: NaN where `as_bytes` or the device would refuse a row.

    For inputs on a card: to look at a value there waits for all that the card has to do. So what is wrong goes on as NaN,
    into the logits and the loss, where it is looked for anyway.
    """
    right = (inputs > -1) & (inputs < 2)  # not NaN either
    wrong = inputs.new_zeros(len(inputs), 1, dtype=torch.float32).masked_fill_(~right.all(1, keepdim=True), torch.nan)
    return ((inputs >= 1) & right).to(torch.uint8), wrong


_without_devices: ContextVar[bool] = ContextVar("without devices", default=False)


@contextmanager
def without_devices() -> Iterator[None]:
    """In this block, in this thread, no `OpticalLayer` asks its device: it reads a fixed, public projection instead.

    To compare two networks with the same device: it takes no frame and no draw, and both networks get the same, without noise.
    """
    token = _without_devices.set(True)
    try:
        yield
    finally:
        _without_devices.reset(token)


def _public_readings(inputs: Float[Tensor, "batch n"], device: OpticalDevice) -> Float[Tensor, "batch m"]:
    """Squares of sums over stretches of the inputs, with random signs; on average the device's mean reading."""
    n, m = device.in_features, device.out_features
    random = generator(0, "public readings")
    signs = 2 * torch.randint(0, 2, (n,), generator=random, dtype=torch.int8, device="cpu").to(inputs) - 1
    ends = torch.randint(0, n + 1, (2, m), generator=random, dtype=torch.int64, device="cpu").to(inputs.device)
    walk = F.pad((inputs * signs).cumsum(1), (1, 0))
    light = (walk[:, ends[0]] - walk[:, ends[1]]).square()
    return light / light.mean(1, keepdim=True).clamp_min(1e-12) * device.mean_reading


class _Projection(Opaque):
    """U as float32 planes, real and imaginary, and their readings, not rounded, for inputs that are scaled to one length."""

    __slots__ = ("length", "planes", "power")

    @without_locals
    def __init__(self, device: OpticalDevice) -> None:
        matrix = true_matrix(device)
        assert isinstance(device, SimulatedOPU)  # any other has been refused
        self.planes = Held(*(plane.contiguous() for plane in (matrix.real, matrix.imag)))
        self.length = (device.in_features * device.camera.density) ** 0.5
        self.power = device.camera.power
        self._enter()

    @without_locals
    def _answer(self, inputs: Tensor, exposure: float) -> Tensor:
        scaled = F.normalize(inputs.float(), dim=1) * self.length
        real, imaginary = self.planes.on(inputs.device)
        out = (scaled @ real.t()).square_()
        light = out.add_((scaled @ imaginary.t()).square_())
        return light if self.power == 2 else light.pow_(self.power / 2)


class _Normalised(Opaque):
    """A device, or its projection, and its readings with mean 0 and a spread of about 1."""

    __slots__ = ("device", "projection")

    def __init__(self, device: OpticalDevice, projection: _Projection | None = None) -> None:
        self.device, self.projection = device, projection
        self._enter()

    @property
    def _asked(self) -> bool:
        return self.projection is None and not _without_devices.get()

    def readings(self, inputs: Tensor) -> Tensor:
        if self.projection is None:
            if not len(inputs):  # a device takes no frame without an input: it is not asked
                return inputs.new_zeros(0, self.device.out_features)
            if _without_devices.get():
                return _public_readings(inputs, self.device)
            return self.device.measure(as_bytes(inputs))
        return measure(self.projection, inputs, outputs=self.device.out_features, dtype=torch.float32)

    def _answer(self, inputs: Tensor, exposure: float) -> Tensor:
        if self._asked and len(inputs) and inputs.is_floating_point() and is_card(inputs.device):
            bits, wrong = _unlooked(inputs)
            with known_bits():
                readings = self.device.measure(bits)
            return self._normalised(readings).add_(wrong)
        return self._normalised(self.readings(inputs))

    def _normalised(self, readings: Tensor) -> Tensor:
        # A speckle's intensity is exponential: its spread is its mean.
        # In place: fresh memory for thousands of readings an image takes longer than the arithmetic.
        return readings.to(torch.float32).div_(self.device.mean_reading).sub_(1)


class OpticalLayer(nn.Module):
    """device -> readings with mean 0 and a spread of about 1. No gradient passes: see `backward.stitch`.

    The device is an attribute, not a buffer: of it a `state_dict` has the fingerprint alone, which is public, and a pickle of
    the module fails. A graph that torch records has the layer as one operator (`opaque.py`).

    `load_state_dict` refuses weights that were trained with another device. Those that name none, as of earlier versions, are
    taken for this one's.

    Shapes: bits [batch, in_features], 0. or 1., -> [batch, out_features], float32.

    Raises:
        NonFiniteError, ValueError: inputs that are NaN or no bits. On a card, where to look would make all wait, nothing
            is raised: the readings of such an input are NaN.
    """

    def __init__(self, device: OpticalDevice) -> None:
        super().__init__()
        check_device(device)
        self.device = device

    @property
    def device(self) -> OpticalDevice:
        return self._normalised.device

    @device.setter
    def device(self, device: OpticalDevice) -> None:
        self._normalised = self._normalise(device)

    def _normalise(self, device: OpticalDevice) -> _Normalised:
        return _Normalised(device)

    @torch.no_grad()
    def measure(self, inputs: Tensor) -> Tensor:
        """The device's own readings, [batch, out_features]."""
        return self._normalised.readings(inputs)

    @torch.no_grad()
    def forward(self, inputs: Float[Tensor, "batch n"]) -> Float[Tensor, "batch m"]:
        return measure(self._normalised, inputs, outputs=self.device.out_features, dtype=torch.float32)

    def get_extra_state(self) -> Tensor:
        """The device's fingerprint, for a `state_dict`: the bytes of its text, uint8 [k], so that all there is a tensor."""
        return torch.tensor(list(self.device.fingerprint.encode()), dtype=torch.uint8, device="cpu")

    def set_extra_state(self, state: Any) -> None:
        """Refuse another device's fingerprint; the layer keeps its device.

        Raises:
            ValueError: another device's, or no fingerprint.
        """
        if not isinstance(state, Tensor) or state.dtype != torch.uint8 or state.ndim != 1 or len(state) > _LONGEST:
            raise ValueError(
                "the weights have something else where the fingerprint of a device should be: they were altered"
            )
        check_same_device(self.device, bytes(state.tolist()).decode(errors="backslashreplace"))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *rest)
        missing, name = rest[2], f"{prefix}{EXTRA}"
        if name in missing:  # weights of an earlier version
            missing.remove(name)

    def extra_repr(self) -> str:
        return f"in_features={self.device.in_features}, out_features={self.device.out_features}"


class FloatInputLayer(OpticalLayer):
    """The projection of a simulated device without its binary input and without its camera: |Ux|^2 in float32.

    No binary device can make it: it is for ablation alone.

    The published code calls a network with this in it RP, for random projection. Each input is scaled to the length that
    inputs have at calibration, so that readings have the device's mean: unscaled features have no fixed total
    light, and their squares make training diverge. The power is the camera's, where it has another.

    Attributes:
        length: of every input, once it is scaled.

    Shapes: features [batch, in_features], float32, -> [batch, out_features], float32.

    Raises:
        TypeError: the device is not a simulated one, so its matrix is not known.
    """

    def _normalise(self, device: OpticalDevice) -> _Normalised:
        return _Normalised(device, _Projection(device))

    @property
    def length(self) -> float:
        assert self._normalised.projection is not None
        return self._normalised.projection.length
