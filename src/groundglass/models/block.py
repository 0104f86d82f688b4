"""The optical block: what stands in a defended network in place of the module that `defend` was told."""

from typing import NoReturn

import torch
from jaxtyping import Float
from torch import Tensor, nn

from groundglass.models.head import Head, Rectified, in_its_place, projection
from groundglass.models.passes import ReachedError, pass_of
from groundglass.optics.backward import stitch
from groundglass.optics.device import OpticalDevice
from groundglass.optics.layer import Encoding, FloatInputLayer, OpticalLayer, encode
from groundglass.optics.opaque import is_followed, uncompiled


class OpticalBlock(nn.Module):
    """Dropout, Linear(d, N), BatchNorm, ReLU, [the synthetic gradient enters here] binarise, device N -> M, Linear(M, out).

    The BatchNorm is not in the paper. Features after ReLU and max-pooling share a large mean; without it
    most bits are the same for every image, and training is slow or fails (docs/log.md has the figures).

    Without a device the block is Dropout, Linear(d, N), BatchNorm, ReLU, [enters here] Linear(N, out): a linear head
    under the same training signal, the paper's first stage for features to transfer.

    Args:
        encoding: what enters the device or the linear layer. Default: bits with a device, floats without.
        head: "published-code": Dropout, Linear(d, N), ReLU, [enters here] binarise, device N -> M, ReLU of the readings less
            their mean (`Rectified`), Linear(M, out); readings are bytes / 255. Its threshold, the mean over the whole
            batch, is the encoding "bits-batch".
        linear_out: M, of that head without a device: [enters here] Linear(N, M), ReLU, Linear(M, out).
    """

    above: nn.Module | None
    encoding: Encoding
    optical: OpticalLayer | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        device: OpticalDevice | None,
        *,
        hidden: int,
        dropout: float,
        encoding: Encoding | None = None,
        head: Head = "normalised",
        linear_out: int | None = None,
    ) -> None:
        super().__init__()
        if linear_out is not None and (device is not None or head != "published-code"):
            raise ValueError("`linear_out` is for the head 'published-code' without a device")
        if device is not None and device.in_features != hidden:
            raise ValueError(f"the device takes {device.in_features} bits, the block has {hidden} features")
        self.dropout = nn.Dropout(dropout)
        self.head = head
        self.project = projection(in_features, hidden, head)
        self.above = None if linear_out is None else in_its_place(hidden, linear_out)
        inputs = (linear_out or hidden) if device is None else device.out_features
        self.readout = nn.Linear(inputs, out_features, dtype=torch.float32, device="cpu")
        if device is not None or linear_out is None:
            self.hold(device, encoding)
        else:
            self.encoding, self.optical, self.gain = encoding or "float", None, 1.0

    def hold(self, device: OpticalDevice | None, encoding: Encoding | None = None) -> None:
        """Put `device`, or none, below the readout, whose inputs must match. A Linear in a device's place goes."""
        self.encoding = encoding or ("float" if device is None else "bits")
        layer = FloatInputLayer if self.encoding == "float" else OpticalLayer
        self.optical = None if device is None else layer(device).train(self.training)
        # Thousands of inputs of spread 1: scaled so that a step of the classifier is as large as one of any other
        # layer, at the same learning rate.
        self.gain = 1.0 if device is None else (128 / device.out_features) ** 0.5
        if device is None or self.head != "published-code":
            self.above = None
            return
        self.gain = device.mean_reading / 255
        if not isinstance(self.above, Rectified):
            self.above = Rectified().to(self.readout.weight.device).train(self.training)

    @property
    def taken(self) -> int:
        """d: features that the block takes."""
        linear = self.project[0]
        assert isinstance(linear, nn.Linear)
        return linear.in_features

    @property
    def width(self) -> int:
        """N: features that are encoded."""
        linear = self.project[0]
        assert isinstance(linear, nn.Linear)
        return linear.out_features

    def features(self, x: Float[Tensor, "batch d"]) -> Float[Tensor, "batch n"]:
        """The features to be encoded: [batch, N], not negative."""
        return torch.relu(self.below(x))

    def below(self, x: Float[Tensor, "batch d"]) -> Float[Tensor, "batch n"]:
        """The features before their ReLU: [batch, N], of either sign."""
        found: Tensor = self.project(self.dropout(x))
        return found

    def classify(self, inputs: Float[Tensor, "batch n"]) -> Float[Tensor, "batch out"]:
        """From what enters the device to the output; no gradient passes the device."""
        return self._read(inputs if self.optical is None else self.optical(inputs))

    def _read(self, above: Tensor) -> Tensor:
        above = above.to(self.readout.weight.dtype)
        out: Tensor = self.readout((above if self.above is None else self.above(above)) * self.gain)
        return out

    @uncompiled(recursive=False)
    def forward(self, x: Float[Tensor, "batch d"]) -> Float[Tensor, "batch out"]:
        if isinstance(x, torch.fx.Proxy):
            raise TypeError(
                "torch.fx.symbolic_trace cannot follow an optical block: let your tracer's is_leaf_module be true for an "
                "OpticalBlock, or record the network with torch.export or make_fx"
            )
        if x.shape[-1] != self.taken:
            raise ValueError(
                f"the optical block takes {self.taken} features, but got {list(x.shape)}: give "
                f"`in_features` (={x.shape[-1]}) to `defend`, or flatten what comes before"
            )
        # The optical part stays in float32 under autocast: a rounding error before a threshold is a flipped bit.
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.readout.weight.dtype).contiguous()
            below = self.below(x)
            hidden = torch.relu(below)
            bits = encode(hidden, self.encoding)
            current = pass_of(self, bits)
            if current.until_features:
                raise ReachedError(hidden, below, x)
            above = bits if self.optical is None else self.optical(bits)
            if current.rule.site == "readings" and is_followed(hidden) and torch._C._get_tracing_state() is None:
                above = stitch(above, hidden, bits, current.rule)
            return current.leave(hidden, bits, self._read(above))

    def __prepare_scriptable__(self) -> NoReturn:
        raise TypeError(
            "an optical block cannot be TorchScript: record the network with torch.jit.trace, under torch.no_grad"
        )
