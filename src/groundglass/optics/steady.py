"""Whether a device answers the same question alike each time."""

from groundglass.optics.counted import uncounted
from groundglass.optics.device import OpticalDevice
from groundglass.optics.remote.device import RemoteOPU
from groundglass.optics.simulated import SimulatedOPU


def is_steady(device: OpticalDevice) -> bool:
    """Whether a device gives the same answers whatever it was asked before: it has no noise and no lots, and stays as it is.

    That is known of simulated ones, here or at a service; of any other it is not, so it counts as one that changes.
    """
    held = uncounted(device)
    return isinstance(held, SimulatedOPU | RemoteOPU) and held.camera is not None and not held.camera.noisy
