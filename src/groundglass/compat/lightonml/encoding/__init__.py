"""Bits of numbers: `from groundglass.compat.lightonml.encoding.base import BinaryThresholdEncoder`."""
