"""Model files: weights as safetensors, what to build as metadata. Of a device they hold the fingerprint only."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from groundglass.core import DamagedFileError
from groundglass.core.schema import read
from groundglass.core.states import CheckedFile
from groundglass.models.defence import Defence, DefenceSpec, as_written, is_public
from groundglass.models.defended import DefendedNetwork, copied
from groundglass.models.ensemble import DefendedEnsemble
from groundglass.models.spec import ModelSpec, build, check_room
from groundglass.models.weights import load_weights
from groundglass.models.wrappers import unwrapped
from groundglass.optics.device import OpticalDevice
from groundglass.optics.store import find_device

_FILE = CheckedFile("model file", "groundglass", "spec", "train again or copy it again", sealed=False)
#: Beside the fields of the spec: see `save_model`.
_CARD = "card"


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
    if isinstance(model, DefendedEnsemble):
        spec = replace(spec, parts=tuple(Defence.of(part) for part in model.parts), votes=model.votes)
    told = as_written(asdict(spec)) | ({} if card is None else {_CARD: dict(card)})
    _FILE.save(path, model.state_dict(), json.dumps(told), new=new)


def save_defended(network: nn.Module, path: Path | str, *, new: bool = False, trained_on: str | None = None) -> None:
    """Write a defended network, whatever network it is, to one safetensors file, atomically.

    In it are all weights and buffers of its `state_dict`, B included, and a description: the defence, torch's layers, and the
    device's fingerprint. No matrix and no seed of a device goes in; nor does code: `load_defended` must be given the network.

    Args:
        network: a `DefendedNetwork`, with a device or without; torch.compile and data parallelism around it are passed over.
        new: never take the place of another file: FileExistsError.
        trained_on: the name of the data set, as `groundglass.data.load` gives it: an audit on images without a test split then
            holds out those that were held out.

    Raises:
        ValueError: it is not defended; or there is something in its `state_dict` that is no tensor.
    """
    inner = unwrapped(network)
    if isinstance(inner, DefendedEnsemble):
        raise ValueError(
            "an ensemble of networks of your own is kept by torch.save(ensemble.state_dict(), ...): make it again of the same "
            "networks and devices, and load_state_dict refuses any other device. `save_model` is for those on a VGG"
        )
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
    _FILE.save(path, state, json.dumps(DefenceSpec.of(inner, trained_on).told), new=new)


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
        if spec.parts:
            raise ValueError(
                f"{path} is an ensemble, which has several devices: load_model(path, find_device=...) reads it"
            )
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
        check_room(spec, sum(tensor.numel() for tensor in tensors.values()), where)
    return tensors, spec


def _open_own(path: Path | str) -> tuple[dict[str, Tensor], ModelSpec]:
    tensors, spec = _open(path)
    if not isinstance(spec, ModelSpec):
        raise ValueError(
            f"{path} holds the weights of a network that is not this package's ({spec.network!r:.80}), so it does not say what "
            "to build: load_defended(path, network=..., device=...) reads it; a command takes it by --weights, beside the network"
        )
    return tensors, spec


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


def trained_on(path: Path | str) -> str | None:
    """The name of the data set that the network of a file was trained on, whoever wrote the file; None if it is not known.

    Raises:
        DamagedFileError: truncated, altered, or not a model file.
    """
    return _open(path)[1].trained_on


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
        find_device: fingerprint -> device, say `DeviceStore(folder).find`. Needed for a network with an optical layer; of an
            ensemble each device is looked for.

    Raises:
        DamagedFileError: truncated, altered, or not a model file.
        ValueError: weights of another shape; a device missing or not the right one.
    """
    tensors, spec = _open_own(path)

    def found(fingerprint: str | None) -> OpticalDevice | None:
        return find_device(fingerprint) if find_device is not None and fingerprint else None

    devices = [found(part.fingerprint) for part in spec.parts]
    model = build(spec, device=found(spec.fingerprint), devices=devices, seed=0)
    load_weights(model, tensors, what=str(path))
    return model.eval()
