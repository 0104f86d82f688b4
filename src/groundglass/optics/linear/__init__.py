"""Ux with its phase, from intensities alone and without U: anchors on the inputs, and lateration in the complex plane."""

from groundglass.optics.linear.linear_device import LinearDevice

__all__ = ["LinearDevice"]
