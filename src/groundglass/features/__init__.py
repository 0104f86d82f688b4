"""A device as a map of features: encoders, scikit-learn's interface, a torch module, and the kernel it tends to."""

from typing import TYPE_CHECKING

from groundglass.core.lazy import lazily
from groundglass.features.encoders import BitPlanes, Encoder, Thermometer, Threshold
from groundglass.features.kernel import optical_kernel
from groundglass.features.layer import OpticalFeatures

if TYPE_CHECKING:
    from groundglass.features.opu_map import OPUMap

__all__ = ["BitPlanes", "Encoder", "OPUMap", "OpticalFeatures", "Thermometer", "Threshold", "optical_kernel"]

# It needs scikit-learn, which not every user has.
__getattr__ = lazily(__name__, {"OPUMap": "groundglass.features.opu_map"})
