"""Randomised smoothing (Cohen, Rosenfeld and Kolter 2019): an L2 certificate from forward passes alone.

The smoothed classifier g gives the class c that the network f gives most often to noisy copies x + n, n ~ N(0, sigma^2 I):

    g(x) = argmax_c P(f(x + n) = c).

If the class A has a probability of p > 1/2 there, then g(x') = A for all x' with |x' - x|_2 < sigma Phi^-1(p) (Theorem 1).
Nothing is asked of f but its classes: it need not have a gradient, and what is in it may be secret, or random, as long as it is
drawn afresh and by the same law in every pass. So the frame noise of a camera, or a matrix that is drawn anew for each frame, is
part of f and spoils nothing; a device that drifts is another f by the end, and the theorem is not about that.

That noise inside certifies nothing about the image by itself. What enters the device are bits, and bits are a deterministic
function of the image: noise behind them gives two images with different bits readings by two laws, as far apart as the secret
U puts them. Read noise of std s is Gaussian smoothing of the classifier above the device, *in the space of readings*: its
class stands where readings move by less than s Phi^-1(p) in L2. One bit that flips moves the 8,000 readings of the demonstration
device by hundreds of grey levels, in L2, and s is one or a few: not one bit is certified (`benchmarks/certify.py` prints both).
Shot noise depends on the light, so that not even this theorem applies, and a switch among matrices has no distance at all.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from groundglass.certify.certified import Certified
from groundglass.certify.decisions import predicted
from groundglass.certify.noise import gaussian
from groundglass.certify.tally import Stages, Tally, devices_of
from groundglass.core import Progress, as_images, as_labels, as_model, logits_of, silent
from groundglass.core.settings import Count, In, Positive, fit
from groundglass.core.settings import Tally as Whole

#: An error rate.
Alpha = Annotated[float, In("(0, 0.5)", "how often a certificate may be wrong: 0.001 for once in a thousand")]


def smooth(model: Any, sigma: float) -> "SmoothedClassifier":
    """The classifier that gives the class which `model` gives most often to noisy copies of an image.

    Args:
        model: images -> logits, a module or any function. It must take images outside of [0, 1]: noise is not clipped. One that
            was not trained with noise (`TrainingConfig(noise=sigma)`) is rarely right under it.
        sigma: std of the noise, in pixel units (images in [0, 1]).

    Raises:
        TypeError: the model cannot be called.
        ValueError: sigma is not above 0.
    """
    return SmoothedClassifier(model, sigma)


class SmoothedClassifier:
    """A smoothed classifier: what `smooth` makes. See this module for what it certifies.

    The noise of a draw depends on the seed, the image's place in its set, and the number of the draw, not on batches; so does
    a count, if the model's logits do not depend on the batch. (Those of torch's convolutions do, in their last bits:
    with another `batch_size` a draw whose two best logits are all but equal may be counted for the other.)

    Attributes:
        model, sigma: as given.
    """

    def __init__(self, model: Any, sigma: float) -> None:
        if not callable(model):
            raise TypeError(
                f"`model` must be a function of images to logits, such as a torch module, not {model!r:.60}"
            )
        self.model, self.sigma = as_model(model), float(fit(Positive, sigma, "sigma"))

    def __repr__(self) -> str:
        return f"SmoothedClassifier({type(self.model).__name__}, sigma={self.sigma:g})"

    def predict(
        self,
        images: Float[Tensor, "n c h w"],
        *,
        n: int = 1000,
        alpha: float = 0.001,
        seed: int = 0,
        indices: Sequence[int] | Tensor | None = None,
        batch_size: int = 500,
        checkpoint: Path | str | None = None,
        progress: Progress = silent,
    ) -> Int64[Tensor, "n"]:
        """The class of each image, or `ABSTAIN` (-1): with confidence 1 - alpha a class is the smoothed classifier's own.

        Args:
            n: draws an image; each is a pass through the model.
            alpha: how often a class may be another than the smoothed classifier's.
            seed, indices: of the noise; `indices` are the places of the images in their set: 0, 1, ... if not given.
            batch_size: draws in a pass.
            checkpoint: of a file, written every half minute: the same call goes on from it.
            progress: told draws.

        Raises:
            TypeError, ValueError: images that are not float NCHW in [0, 1]; a setting out of its range.
            NonFiniteError: NaN or infinite logits.
        """
        images, alpha = as_images(images), fit(Alpha, alpha, "alpha")
        stages = (("predict", fit(Count, n, "n")),)
        found = self._tally(images, indices, stages, seed, batch_size, checkpoint).counted(progress, "smoothed classes")
        classes = [predicted(counts, alpha=alpha) for counts in found[0].tolist()]
        return torch.tensor(classes, dtype=torch.int64, device=images.device)

    def certify(
        self,
        images: Float[Tensor, "n c h w"],
        labels: Any = None,
        *,
        n0: int = 100,
        n: int = 10_000,
        alpha: float = 0.001,
        seed: int = 0,
        indices: Sequence[int] | Tensor | None = None,
        batch_size: int = 500,
        checkpoint: Path | str | None = None,
        progress: Progress = silent,
    ) -> Certified:
        """The class of each image with the L2 radius within which it cannot change, or an abstention.

        A certificate does not ask whether a secret in the model holds: it is true for whoever knows all of it.

        Args:
            labels: true classes, to count what is right; None: not known.
            n0: draws an image that choose a class.
            n: other draws, that estimate its probability; the paper has 100,000. At most sigma Phi^-1(alpha^(1/n)) is certified.
            alpha: how often a certificate may be wrong.
            seed, indices, batch_size, checkpoint, progress: as of `predict`.

        Raises:
            TypeError, ValueError, NonFiniteError: as `predict`; labels that do not fit.
        """
        images, alpha = as_images(images), fit(Alpha, alpha, "alpha")
        known = None if labels is None else as_labels(labels, images).cpu()
        stages = (("choose", fit(Count, n0, "n0")), ("estimate", fit(Count, n, "n")))
        tally = self._tally(images, indices, stages, seed, batch_size, checkpoint)
        chosen, estimated = tally.counted(progress, "certificates")
        frames = len(images) * (n0 + n) * len(devices_of(self.model))
        return Certified(self.sigma, alpha, chosen, estimated, tuple(tally.indices), known, frames)

    def soft(self, draws: int, *, seed: int) -> "SoftSmoothed":
        """A module to attack the smoothed classifier by: see `SoftSmoothed`."""
        return SoftSmoothed(self, draws, seed=seed)

    def _tally(
        self,
        images: Tensor,
        indices: Sequence[int] | Tensor | None,
        stages: Stages,
        seed: int,
        batch_size: int,
        checkpoint: Path | str | None,
    ) -> Tally:
        given = range(len(images)) if indices is None else indices
        places = [fit(Whole, one, "indices") for one in (given.tolist() if isinstance(given, Tensor) else given)]
        if len(places) != len(images):
            raise ValueError(f"`indices` must have one entry an image: {len(images)}, not {len(places)}")
        seed, batch_size = fit(int, seed, "seed"), fit(Count, batch_size, "batch_size")
        return Tally(
            self.model,
            images,
            places,
            sigma=self.sigma,
            seed=seed,
            stages=stages,
            batch_size=batch_size,
            path=checkpoint,
        )


class SoftSmoothed(nn.Module):
    """images -> log of the mean class probabilities under noise: a differentiable stand-in for a smoothed classifier.

    Climbing it is the attack of Salman et al. 2019, "Provably robust deep learning via adversarially trained smoothed
    classifiers". Its gradient is the network's own: of a defended one that of B, or of the rule of the view that was smoothed.

    Args:
        smoothed: what is attacked.
        draws: copies of each image; each is a pass forward and back. The same noise for every image and iterate.
        seed: of it.
    """

    def __init__(self, smoothed: SmoothedClassifier, draws: int, *, seed: int) -> None:
        super().__init__()
        self.model, self.sigma = smoothed.model, smoothed.sigma
        self.draws, self.seed = fit(Count, draws, "draws"), fit(int, seed, "seed")

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        shape = tuple(images.shape[1:])
        noise = gaussian(self.seed, "attack", 0, 0, self.draws, shape, images.device).to(images.dtype)
        noisy = (images[:, None] + self.sigma * noise).flatten(0, 1)
        chances: Tensor = logits_of(self.model(noisy)).softmax(1).unflatten(0, (len(images), self.draws)).mean(1)
        return chances.clamp_min(torch.finfo(chances.dtype).tiny).log()
