"""`from groundglass.compat.lightonml.internal.simulated_device import SimulatedOpuDevice`."""

from groundglass.compat.lightonml.devices import SimulatedOpuDevice

__all__ = ["SimulatedOpuDevice"]
