"""Model files: weights as safetensors, what to build as metadata. Of a device they hold the fingerprint only."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from groundglass.core import DamagedFileError
from groundglass.core.schema import read
from groundglass.core.settings import Count, Dropout, Positive, Settings
from groundglass.core.states import CheckedFile
from groundglass.models.architectures import ARCHITECTURES, ArchitectureName
from groundglass.models.defence import Defence, DefenceSpec, as_written, check_fingerprint, is_public
from groundglass.models.defended import DefendedNetwork, copied
from groundglass.models.head import Head
from groundglass.models.weights import load_weights
from groundglass.models.wrappers import unwrapped
from groundglass.optics.device import OpticalDevice
from groundglass.optics.layer import Encoding
from groundglass.optics.store import find_device

_FILE = CheckedFile("model file", "groundglass", "spec", "train again or copy it again", sealed=False)
#: Beside the fields of the spec: see `save_model`.
_CARD = "card"


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

    @property
    def defended(self) -> bool:
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
        """Refuse a data set that the network was not trained on, as far as that is known.

        Raises:
            ValueError: another name, or another number of classes.
        """
        if self.trained_on not in (None, name):
            raise ValueError(
                f"the network was trained on {self.trained_on}, not on {name}: give --data {self.trained_on}"
            )
        if self.classes != classes:
            raise ValueError(
                f"the network has {self.classes} classes, and {name} has {classes}: "
                "name the data set that it was trained on by --data"
            )


def build(spec: ModelSpec, *, device: OpticalDevice | None = None, seed: int) -> nn.Module:
    """The network of `spec`, with fresh weights from `seed`.

    Raises:
        ValueError: a device is missing, of other sizes, or not the one that `spec.fingerprint` names.
    """
    network = ARCHITECTURES[spec.architecture].make(
        spec.width,
        classes=spec.classes,
        mean=spec.mean,
        std=spec.std,
        dropout=spec.dropout,
        size=spec.size,
        seed=seed,
    )
    if not spec.defended:
        if device is not None:
            raise ValueError("a device was given for a network without an optical layer")
        return network
    return spec.defence.put_into(network, device, inplace=True, seed=seed)


def save_model(
    path: Path | str, model: nn.Module, spec: ModelSpec, *, new: bool = False, card: Mapping[str, Any] | None = None
) -> None:
    """Write weights and spec to one safetensors file, atomically. No matrix and no seed of a device goes in.

    Args:
        new: never take the place of another file: FileExistsError.
        card: what else the file says of the network, plain JSON; `read_card` reads it, and nothing depends on it.
    """
    model = unwrapped(model)
    if isinstance(model, DefendedNetwork) and model.device is not None:
        spec = replace(spec, fingerprint=model.device.fingerprint, public_seed=is_public(model.device))
    told = as_written(asdict(spec)) | ({} if card is None else {_CARD: dict(card)})
    _FILE.save(path, model.state_dict(), json.dumps(told), new=new)


def save_defended(network: nn.Module, path: Path | str, *, new: bool = False) -> None:
    """Write a defended network, whatever network it is, to one safetensors file, atomically.

    In it are all weights and buffers of its `state_dict`, B included, and a description: the defence, torch's layers, and the
    device's fingerprint. No matrix and no seed of a device goes in; nor does code: `load_defended` must be given the network.

    Args:
        network: a `DefendedNetwork`, with a device or without; torch.compile and data parallelism around it are passed over.
        new: never take the place of another file: FileExistsError.

    Raises:
        ValueError: it is not defended; or there is something in its `state_dict` that is no tensor.
    """
    inner = unwrapped(network)
    if not isinstance(inner, DefendedNetwork):
        raise ValueError(
            f"`network` is a {type(inner).__name__}, not a defended network: `defend` makes one. Any other is kept by "
            "torch.save(network.state_dict(), ...)"
        )
    state = inner.state_dict()
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise ValueError(
                f"{name!r} of the network's state_dict is a {type(value).__name__}: a model file holds tensors only"
            )
    told = asdict(DefenceSpec.of(inner))
    _FILE.save(path, state, json.dumps(told | {"defence": as_written(told["defence"])}), new=new)


def load_defended(
    path: Path | str,
    *,
    network: nn.Module | Callable[[], nn.Module] | None = None,
    device: OpticalDevice | Path | str | None = None,
) -> DefendedNetwork:
    """The defended network of a file, in eval mode.

    Args:
        path: written by `save_defended`; or by `save_model`, which says itself what to build.
        network: the architecture, as it was before `defend` or after it: a module, which stays as it is, or a function that
            makes one. Its weights do not matter; buffers that no `state_dict` has, such as a normalisation, are its own.
        device: the one that the weights were trained with; its device file; or the folder that holds that. None: that of
            `network`, if it is defended.

    Raises:
        FileNotFoundError: no such file, or the device is not in the folder.
        DamagedFileError: truncated, altered, or not a model file.
        ValueError: another device; another architecture; names the first thing that differs.
        TypeError: `network` is neither a module nor makes one.
    """
    tensors, spec = _open(path)
    if isinstance(spec, ModelSpec):
        if network is not None:
            raise ValueError(f"{path} says itself what to build: leave out `network`")
        if not spec.defended:
            raise ValueError(f"{path} is a network without an optical layer: load_model reads it")
        made = build(spec, device=_found(device, spec.fingerprint), seed=0)
        assert isinstance(made, DefendedNetwork)
    else:
        made = _architecture(path, spec, network, device)
    load_weights(made, tensors, what=str(path))
    made.eval()
    return made


def _found(device: OpticalDevice | Path | str | None, fingerprint: str | None) -> OpticalDevice | None:
    return find_device(device, fingerprint) if isinstance(device, Path | str) else device


def _architecture(
    path: Path | str,
    spec: DefenceSpec,
    network: nn.Module | Callable[[], nn.Module] | None,
    device: OpticalDevice | Path | str | None,
) -> DefendedNetwork:
    """What the weights of the file go into."""
    if network is None:
        raise ValueError(
            f"{path} holds the weights of a network that is not this package's ({spec.network!r:.80}, defended at "
            f"{spec.defence.at!r:.80}): give the network too, load_defended(path, network=..., device=...)"
        )
    given = network if isinstance(network, nn.Module) else network()
    if not isinstance(given, nn.Module):
        raise TypeError(f"`network` must be a torch module or make one, not a {type(given).__name__}")
    given, own = unwrapped(given), not isinstance(network, nn.Module)
    found = _found(device, spec.defence.fingerprint)
    try:
        if isinstance(given, DefendedNetwork):
            spec.defence.check_device(given.device if found is None else found)
            made = given if own else copied(given)
        else:
            made = spec.defence.put_into(given, found, inplace=own, seed=0)
    except ValueError as error:
        known = isinstance(given, DefendedNetwork) or spec.defence.at in dict(given.named_modules())
        why = "" if known else f"`network` is not the architecture that was saved, {spec.network!r:.80}: "
        raise ValueError(f"{path}: {why}{error}") from error
    spec.check_network(made, str(path))
    if found is not None:
        made.block.hold(found, made.block.encoding)
    return made


def _open(path: Path | str) -> tuple[dict[str, Tensor], ModelSpec | DefenceSpec]:
    tensors, told = _FILE.load(path)
    where = f"the spec of {path}"
    theirs = isinstance(told, dict) and "defence" in told
    spec: ModelSpec | DefenceSpec = read(DefenceSpec, told, where) if theirs else read(ModelSpec, told, where)
    if more := sorted(told.keys() - {field.name for field in fields(spec)} - ({_CARD} if not theirs else set())):
        raise DamagedFileError(f"{where} has {more[0]!r:.40}: it was altered, or use the version that wrote it")
    if isinstance(spec, DefenceSpec):
        spec.check_weights(tensors, where)
    else:
        _check_room(spec, sum(tensor.numel() for tensor in tensors.values()), where)
    return tensors, spec


def _open_own(path: Path | str) -> tuple[dict[str, Tensor], ModelSpec]:
    tensors, spec = _open(path)
    if not isinstance(spec, ModelSpec):
        raise ValueError(
            f"{path} holds the weights of a network that is not this package's ({spec.network!r:.80}), so it does not say what "
            "to build: load_defended(path, network=..., device=...) reads it; a command takes it by --weights, beside the network"
        )
    return tensors, spec


def _check_room(spec: ModelSpec, numbers: int, where: str) -> None:
    """Refuse a spec of a network that is larger than the weights: it would fill the memory."""
    own = ARCHITECTURES[spec.architecture]
    head = own.taken(spec.width)
    inner = spec.device_in or spec.linear_hidden
    instead = spec.linear_out or 0
    out = spec.device_out if spec.device_in else instead or inner
    needed = max(own.largest(spec.width, spec.size), (inner or 0) * max(head, instead), (out or head) * spec.classes)
    if spec.width > 8 or needed > numbers or spec.classes < 2 or (spec.device_in is None) != (spec.device_out is None):
        raise DamagedFileError(
            f"{where} describes another network, of at least {needed:,} weights, and the file has {numbers:,}: it was altered"
        )
    check_fingerprint(spec.fingerprint, where)


def read_spec(path: Path | str) -> ModelSpec:
    """The spec in a model file, checked against altered weights."""
    return _open_own(path)[1]


def device_fingerprint(path: Path | str) -> str | None:
    """Of the device that the network of a file was fitted to, whoever wrote the file; None for none.

    Raises:
        DamagedFileError: truncated, altered, or not a model file.
    """
    spec = _open(path)[1]
    return spec.fingerprint if isinstance(spec, ModelSpec) else spec.defence.fingerprint


def is_defended_file(path: Path) -> bool:
    """Whether a file is one of `save_defended`.

    Raises:
        DamagedFileError: a model file that was altered.
    """
    return _FILE.is_one(path) and isinstance(_open(path)[1], DefenceSpec)


def checksum(path: Path | str) -> str:
    """SHA-256 of weights, spec and card of a model file, in hex: the same network gives the same.

    Raises:
        DamagedFileError: truncated, altered, or not a model file.
    """
    return _FILE.checksum(path)


def read_card(path: Path | str) -> dict[str, Any] | None:
    """The card in a model file, as `save_model` was given it; None where there is none.

    Raises:
        DamagedFileError: truncated, altered, or not a model file.
    """
    told = _FILE.load(path)[1]
    card = told.get(_CARD) if isinstance(told, dict) else None
    return card if isinstance(card, dict) else None


def load_model(path: Path | str, *, find_device: Callable[[str], OpticalDevice] | None = None) -> nn.Module:
    """The network of a model file, in eval mode.

    Args:
        path: written by `save_model`.
        find_device: fingerprint -> device, say `DeviceStore(folder).find`. Needed for a network with an optical layer.

    Raises:
        DamagedFileError: truncated, altered, or not a model file.
        ValueError: weights of another shape; a device missing or not the right one.
    """
    tensors, spec = _open_own(path)
    device = find_device(spec.fingerprint) if find_device is not None and spec.fingerprint else None
    model = build(spec, device=device, seed=0)
    load_weights(model, tensors, what=str(path))
    return model.eval()
