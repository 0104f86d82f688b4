"""Networks by name, from wherever they are: `load_model`."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from groundglass.core import DamagedFileError, as_model, derive_seed, lookup, own_streams
from groundglass.models import files, zoo
from groundglass.models.preprocessing import Preprocessed, Preprocessing
from groundglass.models.schemes import SCHEMES, Factory, Scheme, scheme_of
from groundglass.models.weight_files import read_weights
from groundglass.models.weights import load_weights
from groundglass.optics.device import OpticalDevice

#: In front of the name of a network of our zoo.
ZOO = "zoo:"
#: In place of a file of weights: fresh ones, the same each time.
RANDOM = "random"


def load_model(
    name: str | Path,
    *,
    arguments: Mapping[str, Any] | None = None,
    weights: Path | str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    find_device: Callable[[str], OpticalDevice] | None = None,
) -> nn.Module:
    """A network by its name, in eval mode: images in [0, 1] -> logits, with the preprocessing of its own config inside.

    Args:
        name: "timm:resnet18", "torchvision:resnet18", "robustbench:Linf/Carmon2019Unlabeled", "hub:owner/repository:entry",
            "package.module:factory" or "file.py:factory", a function that makes a module; "zoo:vgg-opu-demo", a network of our
            own zoo, which is also called "vgg-opu-demo" where there is no file of that name; or a model file of ours.
        arguments: of the function that makes the network, `{"num_classes": 10}`.
        weights: a state_dict, .safetensors or what torch.save wrote (read without pickled code). None: those that the network
            is published with, downloaded by its library; of a factory what it makes. "random": fresh ones.
        mean, std: of each channel, in place of those of the network's config.
        find_device: of a model file of ours, fingerprint -> device, say `DeviceStore(folder).find`.

    Returns:
        The network. Its images must have the size that the config names: other sizes are refused where the network cannot
        take them, else there is a warning. Nothing is resized.

    Raises:
        ValueError: an unknown name, a library that is not installed, arguments or weights of another network; says what to do.
        FileNotFoundError: there is no such file, or nothing can be downloaded: says which file to put where.
        DamagedFileError: a file is not what it should be.
    """
    found, given = scheme_of(str(name)), dict(arguments or {})
    more = bool(given) or weights is not None or mean is not None or std is not None
    if (ours := zoo_name(name)) is not None:
        _check_alone(name, more)
        return zoo.load(ours)
    if found is None:
        return _of_file(Path(name), more, find_device)
    scheme, known = found
    if (mean is None) != (std is None):
        raise ValueError("`mean` and `std` go together: give both")
    place = None if weights is None or weights == RANDOM else Path(weights)
    network = _made(scheme, known, str(name), given, weights, place)
    preprocessing = scheme.preprocessing(network, known, given)
    if preprocessing is not None and weights is not None and not preprocessing.fixed:
        preprocessing = replace(preprocessing, size=None)  # of the published weights
    if mean is not None and std is not None:
        size = {} if preprocessing is None else {"size": preprocessing.size, "fixed": preprocessing.fixed}
        preprocessing = Preprocessing(mean=tuple(mean), std=tuple(std), **size)  # type: ignore[arg-type]
    elif preprocessing is None and not scheme.says:
        raise ValueError(
            f"{name} does not say how its images are to be normalised: give its mean and std, as mean=(0.485, 0.456, 0.406) and "
            "std=(0.229, 0.224, 0.225); of a network that does it inside mean=(0, 0, 0) and std=(1, 1, 1)"
        )
    made: nn.Module = as_model(network)
    return (made if preprocessing is None else Preprocessed(made, preprocessing, name=str(name))).eval()


def _made(
    scheme: Scheme, known: str, name: str, arguments: dict[str, Any], weights: Path | str | None, place: Path | None
) -> nn.Module:
    if place is not None and not place.is_file():
        raise FileNotFoundError(f"there is no weights file {place}")
    # What is drawn is the same each time: a network can be named again.
    with own_streams(derive_seed(0, "fresh weights")):
        try:
            network = None if place is None else scheme.read(known, arguments, place)
            if network is None:
                network = scheme.make(known, arguments, published=weights is None)
                if place is not None:
                    load_weights(network, read_weights(place), what=str(place))
        except DamagedFileError:
            raise
        except TypeError as error:
            if "argument" not in str(error):
                raise
            raise ValueError(f"{name} does not take these arguments: {error}") from error
        except scheme.unreachable as error:
            if weights is not None:
                raise
            raise FileNotFoundError(
                f"{name} cannot be downloaded ({_first_line(error)}). Where nothing can be downloaded, get "
                f"{scheme.by_hand(known, arguments)}. With weights='random' nothing is downloaded"
            ) from error
    return network


def _of_file(path: Path, more: bool, find_device: Callable[[str], OpticalDevice] | None) -> nn.Module:
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no model file {path}: give one of ours (models/*.safetensors of a run folder), or a network by name: "
            f"{', '.join(scheme.example for scheme in SCHEMES.values())}, {ZOO}{next(iter(zoo.PINNED))}, "
            f"package.module:factory or {Factory.example}"
        )
    _check_alone(path, more)
    return files.load_model(path, find_device=find_device)


def _check_alone(name: str | Path, more: bool) -> None:
    if more:
        raise ValueError(
            f"{name} has its own weights and settings: arguments, weights, mean and std are for networks that are named otherwise"
        )


def zoo_name(name: str | Path) -> str | None:
    """The network of our zoo that a name means: "zoo:vgg-16", or "vgg-16" where nothing of that name is in the folder.

    Raises:
        ValueError: "zoo:..." of a network that is not in it; the nearest name is offered.
    """
    text = str(name)
    if text.startswith(ZOO) and not os.path.exists(text):
        ours = text.removeprefix(ZOO)
        lookup("network of the zoo", ours, zoo.PINNED)
        return ours
    return text if text in zoo.PINNED and not os.path.exists(text) else None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
