"""Features of a device in a network: numbers -> bits -> normalised readings."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from groundglass.features.encoders import Encoder, check_encoder
from groundglass.optics import OpticalDevice, OpticalLayer


class OpticalFeatures(nn.Module):
    """An encoder in front of an `OpticalLayer`, and its mixing behind it. Fixed random features: no gradient passes.

    What the encoder has learned is a buffer: it moves with the module and is in its `state_dict`; of the device that has the
    fingerprint alone. As the layer, it is not pickled.

    Args:
        device: any `OpticalDevice`.
        encoder: fitted.

    Shapes: [batch, ...] -> [batch, out_features], float32, readings with mean 0 and a spread of about 1 (of bit planes, the
        planes' so normalised, mixed).

    Raises:
        TypeError: no device, no encoder.
        ValueError: the encoder is not fitted; on a call, numbers that do not fit the device.
        NonFiniteError: on a call, of NaN or infinite numbers.
    """

    def __init__(self, device: OpticalDevice, encoder: Encoder) -> None:
        super().__init__()
        check_encoder(encoder)
        learned = getattr(encoder, encoder.learned)
        if learned is None:
            raise ValueError("the encoder has to see data first: encoder.fit(x)")
        self._encoder = encoder
        self.layer = OpticalLayer(device)
        self.register_buffer("learned", torch.as_tensor(learned, dtype=torch.float64, device="cpu").clone())

    @property
    def encoder(self) -> Encoder:
        """With what is in the buffer."""
        return replace(self._encoder, **{self._encoder.learned: self.learned})  # type: ignore[type-var]

    @torch.no_grad()
    def forward(self, x: Tensor) -> Float[Tensor, "batch m"]:
        encoder = self.encoder
        readings: Tensor = self.layer(encoder.encode(x.flatten(1)))
        return encoder.mix(readings).float()

    def extra_repr(self) -> str:
        return f"encoder={type(self._encoder).__name__}"
