"""Certificates: what no attack can do, proven. Each is checked by attacks, in the tests and in `benchmarks/certify.py`."""

from typing import TYPE_CHECKING

from groundglass.core.lazy import lazily

if TYPE_CHECKING:
    from groundglass.certify.certified import Certified, ImageCertificate
    from groundglass.certify.challenges import Challenge, challenge
    from groundglass.certify.decisions import ABSTAIN, certified_radius, predicted
    from groundglass.certify.device_bits import FlippableBits, ThroughDevice, flippable_bits, through_device
    from groundglass.certify.relaxed import bounds, margins, verified
    from groundglass.certify.smoothing import SmoothedClassifier, SoftSmoothed, smooth

__all__ = [
    "ABSTAIN",
    "Certified",
    "Challenge",
    "FlippableBits",
    "ImageCertificate",
    "SmoothedClassifier",
    "SoftSmoothed",
    "ThroughDevice",
    "bounds",
    "certified_radius",
    "challenge",
    "flippable_bits",
    "margins",
    "predicted",
    "smooth",
    "through_device",
    "verified",
]

__getattr__ = lazily(
    __name__,
    dict.fromkeys(("Certified", "ImageCertificate"), "groundglass.certify.certified")
    | dict.fromkeys(("Challenge", "challenge"), "groundglass.certify.challenges")
    | dict.fromkeys(("ABSTAIN", "certified_radius", "predicted"), "groundglass.certify.decisions")
    | dict.fromkeys(
        ("FlippableBits", "ThroughDevice", "flippable_bits", "through_device"), "groundglass.certify.device_bits"
    )
    | dict.fromkeys(("bounds", "margins", "verified"), "groundglass.certify.relaxed")
    | dict.fromkeys(("SmoothedClassifier", "SoftSmoothed", "smooth"), "groundglass.certify.smoothing"),
)
