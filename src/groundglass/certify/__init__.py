"""Certificates: what no attack can do, proven. Each is checked by attacks, in the tests and in `benchmarks/certify.py`."""

from typing import TYPE_CHECKING

from groundglass.core.lazy import lazily

if TYPE_CHECKING:
    from groundglass.certify.certified import Certified, ImageCertificate
    from groundglass.certify.decisions import ABSTAIN, certified_radius, predicted
    from groundglass.certify.smoothing import SmoothedClassifier, SoftSmoothed, smooth

__all__ = [
    "ABSTAIN",
    "Certified",
    "ImageCertificate",
    "SmoothedClassifier",
    "SoftSmoothed",
    "certified_radius",
    "predicted",
    "smooth",
]

__getattr__ = lazily(
    __name__,
    dict.fromkeys(("Certified", "ImageCertificate"), "groundglass.certify.certified")
    | dict.fromkeys(("ABSTAIN", "certified_radius", "predicted"), "groundglass.certify.decisions")
    | dict.fromkeys(("SmoothedClassifier", "SoftSmoothed", "smooth"), "groundglass.certify.smoothing"),
)
