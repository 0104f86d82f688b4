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
from groundglass.models.defended import DefendedNetwork, defend
from groundglass.models.head import Head
from groundglass.models.vgg import vgg16
from groundglass.optics.device import OpticalDevice, is_fingerprint
from groundglass.optics.layer import Encoding

_FILE = CheckedFile("model file", "groundglass", "spec", "train again or copy it again", sealed=False)


@dataclass(frozen=True, kw_only=True)
class ModelSpec(Settings):
    """What to build: a VGG-16, with or without the optical layer in place of its head.

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
        trained_on: the data set, by name; None if it is not known.
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

    @property
    def defended(self) -> bool:
        return self.device_in is not None or self.linear_hidden is not None

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
    network = vgg16(spec.width, classes=spec.classes, mean=spec.mean, std=spec.std, dropout=spec.dropout, seed=seed)
    if not spec.defended:
        if device is not None:
            raise ValueError("a device was given for a network without an optical layer")
        return network
    if spec.device_in is not None:
        _check_device(spec, device)
    return defend(
        network,
        at="head",
        device=device,
        hidden=spec.linear_hidden,
        dropout=spec.dropout,
        encoding=spec.encoding,
        head=spec.head,
        linear_out=spec.linear_out,
        seed=seed,
    )


def _check_device(spec: ModelSpec, device: OpticalDevice | None) -> None:
    if device is None:
        raise ValueError(
            f"this network needs its optical device ({spec.device_in} -> {spec.device_out}"
            + (f", fingerprint {spec.fingerprint}" if spec.fingerprint else "")
            + "): give the device, or the folder that holds its device file"
        )
    if (device.in_features, device.out_features) != (spec.device_in, spec.device_out):
        raise ValueError(
            f"the network was built for a device {spec.device_in} -> {spec.device_out}, "
            f"this one is {device.in_features} -> {device.out_features}"
        )
    if spec.fingerprint is not None and device.fingerprint != spec.fingerprint:
        raise ValueError(
            f"this device ({device.fingerprint}) is not the one that the network was trained with "
            f"({spec.fingerprint}): its predictions would be noise. Give that device, or redraw and fit the classifier again"
        )


def save_model(path: Path | str, model: nn.Module, spec: ModelSpec, *, new: bool = False) -> None:
    """Write weights and spec to one safetensors file, atomically. No matrix and no seed of a device goes in.

    Args:
        new: never take the place of another file: FileExistsError.
    """
    model = getattr(model, "_orig_mod", model)  # of torch.compile
    if isinstance(model, DefendedNetwork) and model.device is not None:
        spec = replace(spec, fingerprint=model.device.fingerprint)
    _FILE.save(path, model.state_dict(), json.dumps(asdict(spec)), new=new)


def _open(path: Path | str) -> tuple[dict[str, Tensor], ModelSpec]:
    tensors, told = _FILE.load(path)
    where = f"the spec of {path}"
    spec = read(ModelSpec, told, where)
    if more := sorted(told.keys() - {field.name for field in fields(ModelSpec)}):
        raise DamagedFileError(f"{where} has {more[0]!r:.40}: it was altered, or use the version that wrote it")
    _check_room(spec, sum(tensor.numel() for tensor in tensors.values()), where)
    return tensors, spec


def _check_room(spec: ModelSpec, numbers: int, where: str) -> None:
    """Refuse a spec of a network that is larger than the weights: it would fill the memory."""
    head = round(512 * spec.width)
    inner = spec.device_in or spec.linear_hidden
    instead = spec.linear_out or 0
    out = spec.device_out if spec.device_in else instead or inner
    needed = max(9 * head * head, (inner or 0) * max(head, instead), (out or head) * spec.classes)
    if spec.width > 8 or needed > numbers or spec.classes < 2 or (spec.device_in is None) != (spec.device_out is None):
        raise DamagedFileError(
            f"{where} describes another network, of at least {needed:,} weights, and the file has {numbers:,}: it was altered"
        )
    if spec.fingerprint is not None and (not is_fingerprint(spec.fingerprint)):
        raise DamagedFileError(f"{where} has the fingerprint {spec.fingerprint!r:.80}: it was altered")


def read_spec(path: Path | str) -> ModelSpec:
    """The spec in a model file, checked against altered weights."""
    return _open(path)[1]


def load_model(path: Path | str, *, find_device: Callable[[str], OpticalDevice] | None = None) -> nn.Module:
    """The network of a model file, in eval mode.

    Args:
        path: written by `save_model`.
        find_device: fingerprint -> device, say `DeviceStore(folder).find`. Needed for a network with an optical layer.

    Raises:
        DamagedFileError: truncated, altered, or not a model file.
        ValueError: weights of another shape; a device missing or not the right one.
    """
    tensors, spec = _open(path)
    device = find_device(spec.fingerprint) if find_device is not None and spec.fingerprint else None
    model = build(spec, device=device, seed=0)
    load_weights(model, tensors, what=str(path))
    return model.eval()


def load_weights(model: nn.Module, tensors: Mapping[str, Any], *, what: str) -> None:
    """`load_state_dict`, for weights as people have them: whatever torch or safetensors would load is loaded.

    Names may have the prefixes that `torch.compile` and data parallelism put before them; a name of weights that
    are tied to others, and the counters of BatchNorm, may be missing. If B was destroyed before the network was saved, it
    stays destroyed.

    Raises:
        ValueError: weights of another network, or of another shape: what torch reports, the first of it.
    """
    if isinstance(model, DefendedNetwork) and not any(name.endswith("feedback") for name in tensors):
        model.destroy_feedback()
    own = model.state_dict()
    named = _named_as(own, tensors)
    try:
        missing, unexpected = model.load_state_dict(named, strict=False)
    except RuntimeError as error:
        first = str(error).splitlines()[1:2] or [str(error)]
        raise ValueError(
            f"{what}: {first[0].strip()} These are weights of another shape (another width, N or M)"
        ) from error
    loaded = {_place(own[name]) for name in named if name in own}
    missing = [
        name
        for name in missing
        if not name.endswith("num_batches_tracked") and (name not in own or _place(own[name]) not in loaded)
    ]
    for names, where in ((unexpected, "the network has"), (missing, "the weights have")):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise ValueError(f"{what}: {where} no {names[0]!r}{more}: these are the weights of another network")


def _named_as(own: Mapping[str, Tensor], tensors: Mapping[str, Any]) -> Mapping[str, Any]:
    """Weights without the prefixes of wrappers in their names, if the network itself has no such names."""
    names = list(tensors)
    if not any("_orig_mod." in name for name in own):
        names = [name.replace("_orig_mod.", "") for name in names]
    # No other prefix: "model." may belong to a network around this one, which computes something else.
    while names and all(name.startswith("module.") for name in names) and not any(name in own for name in names):
        names = [name.removeprefix("module.") for name in names]
    # Unchanged if there is nothing to remove: torch keeps version numbers on its own dict.
    return tensors if names == list(tensors) else dict(zip(names, tensors.values(), strict=True))


def _place(tensor: Tensor) -> tuple[Any, ...]:
    """Where a tensor is in memory: tied weights are in one place."""
    return tensor.device, tensor.data_ptr(), tuple(tensor.shape)
