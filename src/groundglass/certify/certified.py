"""What randomised smoothing certifies of some images, and how often it is right within a radius."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from torch import Tensor

from groundglass.certify.decisions import ABSTAIN, certified_radius
from groundglass.core.imported import library
from groundglass.core.settings import NotNegative, fit
from groundglass.core.statistics import Proportion

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ImageCertificate:
    """Of one image.

    Attributes:
        index: its place in the set.
        prediction: the class of the smoothed classifier, or `ABSTAIN`.
        radius: L2, in pixel units (images in [0, 1]): nothing nearer has another prediction. 0 where it abstains.
        count: draws that gave the class that was chosen, of all that estimate its probability.
        label: its true class, where that is known.
    """

    index: int
    prediction: int
    radius: float
    count: int
    label: int | None

    @property
    def abstained(self) -> bool:
        return self.prediction == ABSTAIN


@dataclass(frozen=True, eq=False)
class Certified:
    """Certificates of a set of images, by `SmoothedClassifier.certify`.

    Each holds with confidence 1 - alpha on its own: of 1,000 images at alpha 0.001 one may be wrong.

    Attributes:
        sigma: std of the noise, pixel units.
        alpha: how often a certificate may be wrong.
        chosen, estimated: draws that gave each class: int64 [n, classes]; the first choose the class, the second certify it.
        indices: the place of each image in its set, which chose its noise.
        labels: true classes, int64 [n], or None.
        frames: that a device was asked for all draws; 0 for a network without one.
    """

    sigma: float
    alpha: float
    chosen: Tensor
    estimated: Tensor
    indices: tuple[int, ...]
    labels: Tensor | None
    frames: int

    def __len__(self) -> int:
        return len(self.indices)

    @cached_property
    def images(self) -> tuple[ImageCertificate, ...]:
        """One an image, in their order."""
        labels = [None] * len(self) if self.labels is None else self.labels.tolist()
        rows = zip(self.indices, self.chosen.tolist(), self.estimated.tolist(), labels, strict=True)
        found = []
        for index, chosen, estimated, label in rows:
            top = max(range(len(chosen)), key=lambda k: chosen[k])
            radius = certified_radius(estimated[top], sum(estimated), sigma=self.sigma, alpha=self.alpha)
            prediction = ABSTAIN if radius is None else top
            found.append(ImageCertificate(index, prediction, radius or 0.0, estimated[top], label))
        return tuple(found)

    @property
    def abstained(self) -> int:
        """Images without a certificate."""
        return sum(one.abstained for one in self.images)

    def certified_accuracy(self, radii: Iterable[float]) -> dict[float, Proportion]:
        """The share of images that are predicted right, with a certificate of that radius or more; `.interval` is its 95% Wilson
        interval, over images.

        Args:
            radii: L2, pixel units. Radius 0: those predicted right without abstention.

        Raises:
            ValueError: there are no labels or no images, or a radius is negative.
        """
        if self.labels is None:
            raise ValueError("which predictions are right is not known: give `labels` to `certify`")
        if not len(self):
            raise ValueError("there are no images, so there is no share to give")
        found = {}
        for radius in radii:
            radius = fit(NotNegative, radius, "radii")
            right = sum(one.prediction == one.label and one.radius >= radius for one in self.images)
            found[radius] = Proportion(right, len(self))
        return found

    def to_frame(self) -> "pd.DataFrame":
        """A row an image."""
        pd = library("pandas", "a table of results")
        rows = [{**vars(one), "abstained": one.abstained} for one in self.images]
        return pd.DataFrame(rows, columns=["index", "prediction", "radius", "count", "label", "abstained"])
