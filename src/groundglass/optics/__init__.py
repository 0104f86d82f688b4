"""The optical device: simulated or real, its camera, its file, and the layer that it makes in a network."""

from groundglass.optics.access import DeviceAccess
from groundglass.optics.backward import BackwardRule, Blocked, RandomFeedback, draw_feedback
from groundglass.optics.camera import Camera
from groundglass.optics.device import OpticalDevice
from groundglass.optics.float_input import FloatInputLayer
from groundglass.optics.layer import Encoding, OpticalLayer, binarise, encode
from groundglass.optics.lighton import LightOnOPU
from groundglass.optics.measuring import measure_file
from groundglass.optics.media import DoesNotFitError
from groundglass.optics.medium import DeviceKind, MatrixKind
from groundglass.optics.moving import MovingDevice
from groundglass.optics.oracle import true_matrix
from groundglass.optics.packed import measure_packed, pack_bits, unpack_bits
from groundglass.optics.simulated import Exposure, SimulatedOPU
from groundglass.optics.store import DeviceStore

__all__ = [
    "BackwardRule",
    "Blocked",
    "Camera",
    "DeviceAccess",
    "DeviceKind",
    "DeviceStore",
    "DoesNotFitError",
    "Encoding",
    "Exposure",
    "FloatInputLayer",
    "LightOnOPU",
    "MatrixKind",
    "MovingDevice",
    "OpticalDevice",
    "OpticalLayer",
    "RandomFeedback",
    "SimulatedOPU",
    "binarise",
    "draw_feedback",
    "encode",
    "measure_file",
    "measure_packed",
    "pack_bits",
    "true_matrix",
    "unpack_bits",
]
