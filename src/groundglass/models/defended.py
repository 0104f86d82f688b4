"""The defence: a secret optical layer inside a classifier, and a way back for gradients around it (paper, Figure 1)."""

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from groundglass.core import derive_seed, logits_of, lookup, own_streams
from groundglass.core.settings import Count, Dropout, fit
from groundglass.models.block import OpticalBlock
from groundglass.models.head import Head
from groundglass.models.passes import Pass, ReachedError, running
from groundglass.models.wrappers import check_plain
from groundglass.optics.backward import BackwardRule, Blocked, RandomFeedback, check_rule, draw_feedback
from groundglass.optics.device import OpticalDevice, check_device
from groundglass.optics.layer import EXTRA, Encoding, OpticalLayer
from groundglass.optics.opaque import is_recorded, uncompiled

_Network = TypeVar("_Network", bound=nn.Module)


@dataclass(frozen=True)
class Guess:
    """The number of logits was not read from the network itself: it was guessed, or told by the user.

    Attributes:
        seed: of B, if it has to be drawn again.
        told: whether the user gave the number.
    """

    seed: int
    told: bool


class Defended(nn.Module, ABC):
    """A classifier with optical layers, one or several: images -> logits, with gradients by a rule of whoever wants them."""

    @property
    @abstractmethod
    def parts(self) -> "tuple[DefendedNetwork, ...]":
        """What has one layer each; a network of one layer is its own."""

    @property
    @abstractmethod
    def classes(self) -> int:
        """How many logits it gives."""

    @abstractmethod
    def training_rule(self) -> BackwardRule:
        """The rule of hybrid training: B where it is still there, else nothing passes."""

    @abstractmethod
    def destroy_feedback(self) -> None:
        """Forget every B."""

    @abstractmethod
    def run(self, images: Tensor, rule: BackwardRule) -> Tensor:
        """Logits, with gradients by `rule`."""

    @abstractmethod
    def observe(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Bits that enter the devices, and logits of the parts, each side by side: what an attacker sees who runs the deployed
        network on images."""

    @abstractmethod
    def each_below(self, images: Tensor) -> tuple[Tensor, ...]:
        """Of every part, what its device's inputs are made of, before their ReLU: [batch, N]. Nothing is measured."""

    @property
    def devices(self) -> tuple[OpticalDevice, ...]:
        """One a part; none where there are linear heads."""
        return tuple(part.device for part in self.parts if part.device is not None)

    def forward(self, images: Tensor) -> Tensor:
        return self.run(images, self.training_rule())

    def seen_through(self, rule: BackwardRule) -> "View":
        """The same network and logits, with gradients by `rule`: what an attacker differentiates."""
        return View(self, rule)


def devices_of(network: nn.Module) -> tuple[OpticalDevice, ...]:
    """The devices that a network asks; none, if it is not defended."""
    return network.devices if isinstance(network, Defended) else ()


class DefendedNetwork(Defended):
    """A classifier with an `OpticalBlock` at a named place.

    The forward pass needs the device. The gradient is an ordinary autograd graph: by default through the training
    feedback B (a saved buffer), or by any rule, with `seen_through`. Without B (see `destroy_feedback`) nothing below
    the device gets a gradient.
    """

    feedback: Tensor | None

    def __init__(self, network: nn.Module, at: str, *, feedback: Tensor | None, guess: "Guess | None" = None) -> None:
        super().__init__()
        self.network = network
        self.at = at
        self.training = network.training
        self.register_buffer("feedback", feedback)
        last = _last_linear(network)
        self._guess, self._ran = guess, False
        self._classes, self._ends = (
            (last.out_features if feedback is None else len(feedback)),
            last is self.block.readout,
        )

    @property
    def classes(self) -> int:
        """How many logits the network has: known once it has run or was loaded; before that guessed, unless `defend` was told."""
        return self._classes

    @property
    def parts(self) -> "tuple[DefendedNetwork, ...]":
        return (self,)

    @property
    def known_classes(self) -> int | None:
        """`classes`, unless that is a guess of ours."""
        return self._classes if self._guess is None or self._guess.told else None

    @property
    def ends_in_block(self) -> bool:
        """Whether the logits are the block's own output: known once the network has run; before that guessed."""
        return self._ends

    @property
    def block(self) -> OpticalBlock:
        block = self.network.get_submodule(self.at)
        assert isinstance(block, OpticalBlock)
        return block

    @property
    def device(self) -> OpticalDevice | None:
        return self.block.optical.device if self.block.optical is not None else None

    def training_rule(self) -> BackwardRule:
        """The rule of hybrid training: B if it is still there, else nothing passes."""
        return RandomFeedback(self.feedback) if self.feedback is not None else Blocked()

    def destroy_feedback(self) -> None:
        """Forget B. Predictions do not need it; more training, and an attack with the training feedback, do."""
        self.feedback = None

    def within(self, outer: nn.Module, at: str) -> "DefendedNetwork":
        """The same defence where `outer` holds its network: weights, device and B are shared.

        Args:
            at: the place of the block in `outer`.
        """
        found = DefendedNetwork(outer, at, feedback=self.feedback, guess=self._guess)
        found._classes, found._ends, found._ran = self._classes, self._ends, self._ran
        found.training = self.training
        return found

    def features(self, images: Tensor) -> Tensor:
        """What the device's inputs are made of, [batch, N], not negative. Nothing is measured."""
        return self._reached(images)[0]

    def below(self, images: Tensor) -> Tensor:
        """The same before the ReLU, [batch, N]: whoever has the weights below the layer has these, and their gradient where a
        feature is off. Nothing is measured."""
        return self._reached(images)[1]

    def taken(self, images: Tensor) -> Tensor:
        """What the block is given, [batch, d]. Nothing is measured."""
        return self._reached(images)[2]

    def each_below(self, images: Tensor) -> tuple[Tensor, ...]:
        return (self.below(images),)

    def _reached(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        with running(Pass(self.block, Blocked(), until_features=True)):
            try:
                self.network(images)
            except ReachedError as reached:
                features, below, taken = reached.args
                return features, below, taken
        raise self._missed()

    def observe(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Bits that enter the device, and logits: what an attacker sees who runs the deployed network on images.

        Raises:
            ValueError: the block is not called exactly once in a forward pass, so a row of logits has no single row of bits.
        """
        with running(Pass(self.block, Blocked())) as this:
            logits: Tensor = logits_of(self.network(images))
        if not this.bits:
            raise self._missed()
        if len(this.bits) > 1:
            raise ValueError(
                f"the optical block at {self.at!r} is called {len(this.bits)} times in a forward pass: there is no single row of "
                "bits for a row of logits. A rule that is fitted to such pairs is not for this network"
            )
        return this.bits[0], logits

    @uncompiled(recursive=False)
    def run(self, images: Tensor, rule: BackwardRule) -> Tensor:
        """Logits, with gradients by `rule`, to every call of the block.

        Raises:
            RuntimeError: the block was not called.
            ValueError: the rule takes the error at the logits, and the block got other rows than the network gave.
        """
        with running(Pass(self.block, rule)) as this:
            logits: Tensor = logits_of(self.network(images))
        if not this.bits:
            raise self._missed()
        if not self._ran and not is_recorded():
            self._settle(logits, this.out)
        return this.finish(logits)

    def _settle(self, logits: Tensor, out: Tensor | None) -> None:
        """Called in a forward pass, which shows what could only be guessed before."""
        classes, guess = logits.shape[-1], self._guess
        if guess is not None and classes != self._classes:
            if guess.told:
                raise ValueError(
                    f"`classes` (={self._classes}) is wrong: the network gives {classes} logits. Give that number to `defend`"
                )
            if self.feedback is not None:
                right = draw_feedback(classes, self.feedback.shape[1], seed=guess.seed)
                # In place: a rule that was made from B then has the right one too.
                with torch.no_grad():
                    self.feedback.resize_(right.shape).copy_(right)
        self._classes, self._guess, self._ran = classes, None, True
        self._ends = out is not None and out.shape == logits.shape and torch.equal(out, logits)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        for name, module in self.named_modules():  # before anything is changed
            if isinstance(module, OpticalLayer) and (told := state_dict.get(f"{prefix}{name}.{EXTRA}")) is not None:
                module.set_extra_state(told)
        kept = state_dict.get(f"{prefix}feedback")
        if kept is not None and self.feedback is not None and kept.ndim == 2:
            if self._guess is not None and not self._guess.told and kept.shape[1:] == self.feedback.shape[1:]:
                self.feedback = self.feedback.new_empty(kept.shape)
            if kept.shape == self.feedback.shape:
                self._classes, self._guess = len(kept), None
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _missed(self) -> RuntimeError:
        return RuntimeError(
            f"the forward pass did not go through the optical block at {self.at!r}: the network must call it, in the "
            "thread in which the network itself is called"
        )

    def extra_repr(self) -> str:
        return f"at={self.at!r}, feedback={'saved' if self.feedback is not None else 'none'}"


class View(nn.Module):
    """A defended network with another backward rule; see `Defended.seen_through`."""

    def __init__(self, defended: Defended, rule: BackwardRule) -> None:
        super().__init__()
        check_rule(rule)
        self.defended = defended
        self.rule = rule
        self.training = defended.training  # its own mode only: the modules of the network keep theirs

    def forward(self, images: Tensor) -> Tensor:
        return self.defended.run(images, self.rule)


def defend(
    network: nn.Module,
    *,
    at: str,
    device: OpticalDevice | None,
    hidden: int | None = None,
    dropout: float = 0.0,
    encoding: Encoding | None = None,
    head: Head = "normalised",
    linear_out: int | None = None,
    in_features: int | None = None,
    out_features: int | None = None,
    classes: int | None = None,
    inplace: bool = False,
    seed: int,
) -> DefendedNetwork:
    """A classifier with the optical layer in place of the module at `at`.

    `at` names a module of `network` that holds at least one `nn.Linear` and maps [batch, d] to [batch, k]: the last
    layer of a ResNet ("fc"), the head of a VGG ("head" here, "classifier" elsewhere), or a Linear half-way. d and k
    are read from the first and last Linear that it defines.

    - The module at `at` goes, whole, with its trained weights and its hooks. An `OpticalBlock` with new weights takes its place.
    - The layers below keep their weights. More training reaches them through B: the error at the logits.
    - The layers above, if there are any, keep theirs too, and get their ordinary gradient.

    `network` stays as it was: what is returned holds a copy of it (`copy.deepcopy`). Nothing is shared. Parameters that are tied
    in it are tied in the copy; hooks and parametrizations are copied with their modules; a hook that is a closure over
    the original still sees the original.

    For features first, give `device=None` and `hidden`: a linear head. Train it with `BackProp()` or `HybridDFA()`, then
    `training.place_device(network, device)`.

    Args:
        network: images -> logits.
        at: the dotted name, as `network.named_modules()` gives it.
        device: N = device.in_features, M = device.out_features. None: a linear head under the same training signal.
        hidden: N, when there is no device.
        dropout: in front of the block.
        encoding, head, linear_out: see `OpticalBlock`.
        in_features, out_features: d and k, if they are not those of the module's first and last Linear.
        classes: logits of the network, the rows of B. None: those of the Linear that is defined last, until the first forward
            pass shows how many there are.
        inplace: change `network` itself, without a copy.
        seed: of the new weights and of B.

    Raises:
        TypeError: `network` is not a module, or `device` is not an optical device.
        ValueError: no such module (the nearest name is offered), or no Linear in it; a network that is defended already, is
            in a wrapper (torch.compile, DataParallel), or cannot be copied.
    """
    if not isinstance(network, nn.Module):
        raise TypeError(f"`network` must be a torch module, not a {type(network).__name__}")
    if device is not None:
        check_device(device)
    check_plain(network)
    places = {name: module for name, module in network.named_modules() if name}
    _check_undefended(network, at, places)
    place = lookup("module", at, places)
    linears = [m for m in place.modules() if isinstance(m, nn.Linear)]
    if not linears:
        holders = [name for name, m in places.items() if isinstance(m, nn.Linear)]
        raise ValueError(f"the module at {at!r} holds no Linear to replace; these are Linear: {', '.join(holders)}")
    if device is None and hidden is None:
        raise ValueError("without a device, `hidden` (N) must be given")
    n: int = device.in_features if device is not None else fit(Count, hidden, "hidden")
    dropout = fit(Dropout, dropout, "dropout")
    last_linear = _last_linear(network)
    if any(is_lazy(parameter) for parameter in network.parameters()):
        raise ValueError("`network` has lazy layers, whose sizes are not known yet: run it on an image first")
    if classes is None:
        guess, rows = Guess(derive_seed(seed, "B"), told=False), last_linear.out_features
    else:
        guess, rows = Guess(derive_seed(seed, "B"), told=True), fit(Count, classes, "classes")
    with own_streams(derive_seed(seed, "optical block")):
        d = linears[0].in_features if in_features is None else fit(Count, in_features, "in_features")
        k = linears[-1].out_features if out_features is None else fit(Count, out_features, "out_features")
        settings: dict[str, Any] = {"encoding": encoding, "head": fit(Head, head, "head")}
        if linear_out is not None:
            settings["linear_out"] = fit(Count, linear_out, "linear_out")
        block = OpticalBlock(d, k, device, hidden=n, dropout=dropout, **settings)
    block.train(place.training).to(linears[0].weight.device)
    if not inplace:
        network = copied(network)
    parent, _, leaf = at.rpartition(".")
    setattr(network.get_submodule(parent), leaf, block)
    feedback = draw_feedback(rows, n, seed=guess.seed).to(last_linear.weight.device)
    return DefendedNetwork(network, at, feedback=feedback, guess=guess)


def _last_linear(network: nn.Module) -> nn.Linear:
    """The one that is defined last; it need not be the one that gives the logits."""
    return [module for module in network.modules() if isinstance(module, nn.Linear)][-1]


def _check_undefended(network: nn.Module, at: str, places: dict[str, nn.Module]) -> None:
    if isinstance(network, Defended | View):
        inner = network.defended if isinstance(network, View) else network
        where = getattr(inner, "at", "several places")
        raise ValueError(
            f"`network` is defended already, at {where!r}. Another device goes in by training.place_device(network, device); to "
            "defend a second place, put the network into a module of your own first"
        )
    for name, module in places.items():
        if isinstance(module, OpticalBlock) and (f"{at}.".startswith(f"{name}.") or f"{name}.".startswith(f"{at}.")):
            raise ValueError(f"there is an optical block at {name!r} already: name a place outside of it")


def copied(network: _Network) -> _Network:
    """`copy.deepcopy`, which says what to do where it fails. Raises: ValueError."""
    try:
        return copy.deepcopy(network)
    except Exception as error:  # whatever the user's own modules raise
        raise ValueError(
            f"`network` cannot be copied ({error}): with inplace=True it is changed itself, and no copy is made"
        ) from error
