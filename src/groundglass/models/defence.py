"""What a defence is made of: all that a file must say so that the layer can be put into the same network again."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from groundglass.core import DamagedFileError
from groundglass.core.settings import Count, Dropout, Settings
from groundglass.models.defended import DefendedNetwork, defend
from groundglass.models.head import Head
from groundglass.optics.device import OpticalDevice, check_same_device, is_fingerprint
from groundglass.optics.layer import Encoding

# Of a file without B, for which nothing else bounds them.
_MOST_CLASSES = 10**6


@dataclass(frozen=True, kw_only=True)
class Defence(Settings):
    """What stands in a network, and where. The device itself is not in it.

    Attributes:
        at: the place, as `defend` takes it.
        hidden: N, features that are encoded.
        device_out: M; None where there is no device.
        in_features, out_features: d and k of the block; None: as `defend` reads them.
        classes: logits; None: not known yet.
        dropout, encoding, head, linear_out: see `OpticalBlock`.
        fingerprint: of the device that the weights were trained with.
        public_seed: that device's seed was given: who knows or guesses it has U. Not known of files of version 0.2.
    """

    at: str
    hidden: Count
    device_out: Count | None
    in_features: Count | None = None
    out_features: Count | None = None
    classes: Count | None = None
    dropout: Dropout = 0.0
    encoding: Encoding | None = None
    head: Head = "normalised"
    linear_out: Count | None = None
    fingerprint: str | None = None
    public_seed: bool = False

    @classmethod
    def of(cls, network: DefendedNetwork) -> Self:
        """That of a network."""
        block, device = network.block, network.device
        inner = None if device is not None or block.above is None else block.readout.in_features
        return cls(
            at=network.at,
            hidden=block.width,
            device_out=None if device is None else device.out_features,
            in_features=block.taken,
            out_features=block.readout.out_features,
            classes=network.known_classes,
            dropout=block.dropout.p,
            encoding=block.encoding,
            head=block.head,
            linear_out=inner,
            fingerprint=None if device is None else device.fingerprint,
            public_seed=is_public(device),
        )

    def put_into(
        self, network: nn.Module, device: OpticalDevice | None, *, inplace: bool = False, seed: int
    ) -> DefendedNetwork:
        """`network`, defended like this, by `defend`; weights and B are new, from `seed`.

        Raises:
            ValueError: a device is missing, of other sizes, or not the one with this fingerprint; else as `defend`.
        """
        self.check_device(device)
        told = asdict(self)
        for name in ("device_out", "fingerprint", "public_seed"):
            del told[name]
        return defend(network, **told, device=device, inplace=inplace, seed=seed)

    def check_device(self, device: OpticalDevice | None) -> None:
        """Refuse any but the device that the weights were trained with.

        Raises:
            ValueError: it is missing, of other sizes, or another one; or none is needed.
        """
        if self.device_out is None:
            if device is not None:
                raise ValueError("a device was given for a network without an optical layer")
            return
        if device is None:
            raise ValueError(
                f"this network needs its optical device ({self.hidden} -> {self.device_out}"
                + (f", fingerprint {self.fingerprint}" if self.fingerprint else "")
                + "): give the device, its device file, or the folder that holds it"
            )
        if (device.in_features, device.out_features) != (self.hidden, self.device_out):
            raise ValueError(
                f"the network was built for a device {self.hidden} -> {self.device_out}, "
                f"this one is {device.in_features} -> {device.out_features}"
            )
        if self.fingerprint is not None:
            check_same_device(device, self.fingerprint)


def is_public(device: OpticalDevice | None) -> bool:
    """Whether a device says that its seed was given."""
    return bool(getattr(device, "public", False))


def as_written(told: dict[str, Any]) -> dict[str, Any]:
    """The fields of a spec or a defence for a file: as version 0.2 wrote them, unless there is something to say."""
    return {name: value for name, value in told.items() if name not in _USUAL or value != _USUAL[name]}


#: Fields that files of version 0.2 do not have.
_USUAL: dict[str, Any] = {"public_seed": False, "architecture": "vgg16", "parts": (), "depths": (), "votes": False}


def check_fingerprint(fingerprint: str | None, where: str) -> None:
    """Refuse, of a file, what can be no fingerprint. Raises: DamagedFileError."""
    if fingerprint is not None and not is_fingerprint(fingerprint):
        raise DamagedFileError(f"{where} has the fingerprint {fingerprint!r:.80}: it was altered")


@dataclass(frozen=True, kw_only=True)
class DefenceSpec(Settings):
    """What the file of a defended network of anybody's says: the defence, and which network it is in.

    Names and shapes of weights are in the file anyway. What they do not show is which layers have none, and the settings of
    those that have, such as a stride: torch's own layers are listed with them.

    Attributes:
        defence: what stands in the network.
        network: the name of its class, to be shown.
        layers: torch's layers outside the block, by name: what torch writes of each.
        torch: the version, as "2.9": another one may write the same settings in other words, and then only the kinds of
            layers are compared.
        trained_on: the data set, by name; None if it is not known.
    """

    defence: Defence
    network: str
    layers: dict[str, str]
    torch: str
    trained_on: str | None = None

    @classmethod
    def of(cls, network: DefendedNetwork, trained_on: str | None = None) -> Self:
        """That of a network."""
        inside = network.network
        return cls(
            defence=Defence.of(network),
            network=type(inside).__name__,
            layers=_layers(inside, network.at),
            torch=_torch(),
            trained_on=trained_on,
        )

    @property
    def told(self) -> dict[str, Any]:
        """For the file: as version 0.2 wrote it, unless there is something to say."""
        told = {**asdict(self), "defence": as_written(asdict(self.defence))}
        return {name: value for name, value in told.items() if (name, value) != ("trained_on", None)}

    def check_weights(self, tensors: Mapping[str, Tensor], where: str) -> None:
        """Refuse a spec that does not fit the weights in the same file: what it describes might not fit into memory.

        Raises:
            DamagedFileError: it was altered.
        """
        told, block = self.defence, f"network.{self.defence.at}"
        m = told.linear_out or told.hidden if told.device_out is None else told.device_out
        needed = {"project.0.weight": (told.hidden, told.in_features), "readout.weight": (told.out_features, m)}
        for name, shape in needed.items():
            found = tensors.get(f"{block}.{name}")
            if found is None or tuple(found.shape) != shape:
                raise DamagedFileError(f"{where} does not fit the weights beside it ({name}): it was altered")
        kept = tensors.get("feedback")
        if told.classes is not None and (
            told.classes > _MOST_CLASSES if kept is None else tuple(kept.shape) != (told.classes, told.hidden)
        ):
            raise DamagedFileError(f"{where} does not fit the feedback matrix beside it: it was altered")
        check_fingerprint(told.fingerprint, where)

    def check_network(self, network: DefendedNetwork, what: str) -> None:
        """Refuse a network of another architecture, as far as its layers show; its weights are not looked at.

        Raises:
            ValueError: names the first layer that differs, or the first setting of the defence.
        """
        own = type(self).of(network)
        for name in ("at", "hidden", "device_out", "in_features", "out_features", "encoding", "head", "linear_out"):
            then, now = getattr(self.defence, name), getattr(own.defence, name)
            if then != now:
                raise ValueError(
                    f"{what}: these are weights of a network defended with {name}={then!r}; this one has {now!r}"
                )
        for name in dict.fromkeys((*self.layers, *own.layers)):
            then, now = self.layers.get(name, "no layer"), own.layers.get(name, "no layer")
            if self.torch != own.torch:
                then, now = (told.partition("(")[0] for told in (then, now))
            if then != now:
                raise ValueError(
                    f"{what}: these are weights of another network ({self.network!r:.80}): its layer {name!r:.80} is "
                    f"{then!r:.200}, and in this one it is {now!r:.200}"
                )


def _layers(network: nn.Module, at: str) -> dict[str, str]:
    """Torch's own layers outside the block at `at`, by name. A user's classes may be renamed; and what is in their `forward`
    cannot be seen."""
    found = {}
    for name, module in network.named_modules():
        ours = f"{name}.".startswith(f"{at}.")
        if name and not ours and type(module).__module__.startswith("torch.") and not isinstance(module, _HOLDERS):
            told = module.extra_repr()
            found[name] = f"{type(module).__name__}({'' if ' at 0x' in told else told})"
    return found


_HOLDERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)


def _torch() -> str:
    return ".".join(torch.__version__.split(".")[:2])
