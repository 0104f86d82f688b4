"""Is a simulated medium an i.i.d. complex Gaussian one? Its laws, and stand-ins that break them."""

from groundglass.optics.fidelity.laws import HOLDS_WITHIN, Law
from groundglass.optics.fidelity.standins import STANDINS, Maker
from groundglass.optics.fidelity.table import LEAST_INPUTS, LEAST_OUTPUTS, Light, device_light, fidelity

__all__ = [
    "HOLDS_WITHIN",
    "LEAST_INPUTS",
    "LEAST_OUTPUTS",
    "STANDINS",
    "Law",
    "Light",
    "Maker",
    "device_light",
    "fidelity",
]
