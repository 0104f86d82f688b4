"""The optical device: simulated or real, its camera, its file, and the layer that it makes in a network."""

from groundglass.optics.access import DeviceAccess
from groundglass.optics.backward import BackwardRule, Blocked, RandomFeedback, draw_feedback, feedback_size
from groundglass.optics.camera import Camera, Exposure
from groundglass.optics.device import OpticalDevice
from groundglass.optics.drifting import DriftingDevice
from groundglass.optics.kinds import DoesNotFitError
from groundglass.optics.layer import Encoding, FloatInputLayer, OpticalLayer, binarise, encode, without_devices
from groundglass.optics.lighton import LightOnOPU
from groundglass.optics.medium import DeviceKind, MatrixKind
from groundglass.optics.moving import MovingDevice
from groundglass.optics.remote.device import RemoteOPU
from groundglass.optics.simulated import SimulatedOPU
from groundglass.optics.store import DeviceStore
from groundglass.optics.streams.measurement import measure_file
from groundglass.optics.streams.packed import measure_packed, pack_bits, unpack_bits
from groundglass.optics.true_matrix import entry_size, true_matrix

__all__ = [
    "BackwardRule",
    "Blocked",
    "Camera",
    "DeviceAccess",
    "DeviceKind",
    "DeviceStore",
    "DoesNotFitError",
    "DriftingDevice",
    "Encoding",
    "Exposure",
    "FloatInputLayer",
    "LightOnOPU",
    "MatrixKind",
    "MovingDevice",
    "OpticalDevice",
    "OpticalLayer",
    "RandomFeedback",
    "RemoteOPU",
    "SimulatedOPU",
    "binarise",
    "draw_feedback",
    "encode",
    "entry_size",
    "feedback_size",
    "measure_file",
    "measure_packed",
    "pack_bits",
    "true_matrix",
    "unpack_bits",
    "without_devices",
]
