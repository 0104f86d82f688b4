"""The networks that a `ModelSpec` may name: each at any width, for images of any size."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from groundglass.models import resnet, transformer, vgg
from groundglass.models.classifier import Classifier

#: "vgg16" is the paper's. The others are there so that an answer is not that of VGG alone.
ArchitectureName = Literal["vgg16", "resnet18", "vit"]


@dataclass(frozen=True)
class Architecture:
    """A network of any width.

    Attributes:
        label: of it, for people and in the names of cells.
        make: the arguments of `vgg16` -> the network. What an optical layer replaces is its `head`.
        taken: width -> features that the head takes.
        largest: width, size of the images, and of one with a `shallow` a depth -> weights of its largest part, at least: a file
            must have as many.
        multiplications: width, and by name `channels`, `size`, of one with a `shallow` a `depth` -> of a forward pass of one
            image, but for a small rest.
        shallow: see `vgg.shallow`; None: there are no depths in it.
    """

    label: str
    make: Callable[..., Classifier]
    taken: Callable[[float], int]
    largest: Callable[..., int]
    multiplications: Callable[..., int]
    shallow: Callable[..., Classifier] | None = None


#: Those of `ModelSpec`, by name.
ARCHITECTURES: dict[ArchitectureName, Architecture] = {
    "vgg16": Architecture("VGG-16", vgg.vgg16, vgg.taken, vgg.largest, vgg.multiplications, vgg.shallow),
    "resnet18": Architecture("ResNet-18", resnet.resnet18, resnet.taken, resnet.largest, resnet.multiplications),
    "vit": Architecture("ViT", transformer.vit, transformer.taken, transformer.largest, transformer.multiplications),
}
