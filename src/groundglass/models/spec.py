"""What a model file says: which network to build, with which layers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from groundglass.core import DamagedFileError
from groundglass.core.settings import Count, Dropout, Positive, Settings
from groundglass.data.registry import same_images
from groundglass.models.architectures import ARCHITECTURES, ArchitectureName
from groundglass.models.defence import Defence, check_fingerprint
from groundglass.models.head import Head
from groundglass.models.shared_features import ensemble_on
from groundglass.optics.device import OpticalDevice
from groundglass.optics.layer import Encoding

# Of an image: no file of ours is of larger ones.
_MOST_PIXELS = 2**32


@dataclass(frozen=True, kw_only=True)
class ModelSpec(Settings):
    """What to build: a VGG-16 or another network, with or without the optical layer in place of its head.

    Attributes:
        width: factor on the channels.
        classes: logits.
        mean, std: the data set's normalisation, applied inside.
        dropout: of the head.
        device_in, device_out: N and M of the optical layer; both None for a network without one.
        linear_hidden: N of a linear head trained by DFA, without a device; else None.
        encoding: what enters the device or the linear head; None: bits for a device, floats for a linear head.
        head: "published-code" for that of the paper's code; see `OpticalBlock`.
        linear_out: M of a linear layer in the device's place in that head.
        fingerprint: of the device that the network was trained with.
        public_seed: that device's seed was given: who knows or guesses it has U. Not known of files of version 0.2.
        trained_on: the data set, by name; None if it is not known.
        size: height and width of the images, pixels; None: 32 x 32.
        architecture: the network; see `groundglass.models.ARCHITECTURES`.
        parts: of an ensemble on these convolutions, see `ensemble_on`; none: no ensemble.
        depths: of its parts; none: all at the end.
        votes: see `DefendedEnsemble`.
    """

    width: Positive
    classes: Count
    mean: tuple[float, ...]
    std: tuple[Positive, ...]
    dropout: Dropout = 0.0
    device_in: Count | None = None
    device_out: Count | None = None
    linear_hidden: Count | None = None
    fingerprint: str | None = None
    encoding: Encoding | None = None
    trained_on: str | None = None
    head: Head = "normalised"
    linear_out: Count | None = None
    size: tuple[Count, Count] | None = None
    public_seed: bool = False
    architecture: ArchitectureName = "vgg16"
    parts: tuple[Defence, ...] = ()
    depths: tuple[Count, ...] = ()
    votes: bool = False

    @property
    def defended(self) -> bool:
        """Whether one layer is in place of its head; an ensemble has several."""
        return self.device_in is not None or self.linear_hidden is not None

    @property
    def defence(self) -> Defence:
        """What stands in place of the head of a defended one."""
        assert self.defended
        return Defence(
            at="head",
            hidden=self.device_in or self.linear_hidden or 1,
            device_out=self.device_out,
            dropout=self.dropout,
            encoding=self.encoding,
            head=self.head,
            linear_out=self.linear_out,
            fingerprint=self.fingerprint,
            public_seed=self.public_seed,
        )

    def check_data(self, name: str, classes: int) -> None:
        """Refuse a data set that the network was not trained on, as far as that is known. The first images of it will do, and
        images of the user's own under another name.

        Raises:
            ValueError: other images, or another number of classes.
        """
        if self.trained_on is not None and not same_images(self.trained_on, name):
            raise ValueError(
                f"the network was trained on {self.trained_on}, not on {name}: give --data {self.trained_on}"
            )
        if self.classes != classes:
            raise ValueError(
                f"the network has {self.classes} classes, and {name} has {classes}: "
                "name the data set that it was trained on by --data"
            )


def build(
    spec: ModelSpec,
    *,
    device: OpticalDevice | None = None,
    devices: Sequence[OpticalDevice | None] = (),
    seed: int,
) -> nn.Module:
    """The network of `spec`, with fresh weights from `seed`.

    Args:
        devices: of an ensemble, one a part.

    Raises:
        ValueError: a device is missing, of other sizes, or not the one that `spec.fingerprint` names.
    """
    own = ARCHITECTURES[spec.architecture]
    shared: dict[str, Any] = {name: getattr(spec, name) for name in ("classes", "mean", "std", "size")} | {"seed": seed}
    if spec.parts and spec.depths and own.shallow is not None:
        network = own.shallow(spec.width, max(spec.depths), **shared)
    else:
        network = own.make(spec.width, dropout=spec.dropout, **shared)
    if spec.parts:
        if device is not None:
            raise ValueError("a device was given for an ensemble: give `devices`, one a part")
        given = devices or [None] * len(spec.parts)
        return ensemble_on(network, spec.parts, given, depths=spec.depths, votes=spec.votes, seed=seed)
    if not spec.defended:
        if device is not None:
            raise ValueError("a device was given for a network without an optical layer")
        return network
    return spec.defence.put_into(network, device, inplace=True, seed=seed)


def check_room(spec: ModelSpec, numbers: int, where: str) -> None:
    """Refuse a spec of a network that is larger than the weights: it would fill the memory."""
    height, breadth = spec.size or (32, 32)
    needed = _needed(spec, numbers)
    odd = spec.width > 8 or height * breadth > _MOST_PIXELS or spec.classes < 2
    if odd or needed > numbers or (spec.device_in is None) != (spec.device_out is None):
        raise DamagedFileError(
            f"{where} describes another network, of at least {needed:,} weights, and the file has {numbers:,}: it was altered"
        )
    check_fingerprint(spec.fingerprint, where)
    for part in spec.parts:
        check_fingerprint(part.fingerprint, where)


def _needed(spec: ModelSpec, numbers: int) -> int:
    """Weights that a network of this spec has at least, and that building it takes at a time."""
    own = ARCHITECTURES[spec.architecture]
    if not spec.parts:
        head, inner, instead = own.taken(spec.width), spec.device_in or spec.linear_hidden, spec.linear_out or 0
        out = spec.device_out if spec.device_in else instead or inner
        largest = own.largest(spec.width, spec.size)
        return max(largest, (inner or 0) * max(head, instead), (out or head) * spec.classes)
    # Each part takes the features of its own depth, and nothing is built that is deeper than all of them.
    inside = sum(
        part.hidden * ((part.in_features or numbers) + (part.linear_out or 0))
        + (part.device_out or part.linear_out or part.hidden) * spec.classes
        for part in spec.parts
    )
    if spec.depths and own.shallow is not None:
        return inside + own.largest(spec.width, spec.size, max(spec.depths))
    return max(inside + own.largest(spec.width, spec.size), own.taken(spec.width) * spec.classes)
