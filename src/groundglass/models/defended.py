"""The defence: a secret optical layer inside a classifier, and a way back for gradients around it (paper, Figure 1)."""

from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from jaxtyping import Float
from torch import Tensor, nn

from groundglass.core import derive_seed, logits_of, lookup
from groundglass.core.settings import Count, Dropout, fit
from groundglass.models.head import Head, Rectified, in_its_place, projection
from groundglass.models.passes import Pass, ReachedError, pass_of, running
from groundglass.optics.backward import BackwardRule, Blocked, RandomFeedback, check_rule, draw_feedback, stitch
from groundglass.optics.device import OpticalDevice
from groundglass.optics.layer import Encoding, FloatInputLayer, OpticalLayer, encode
from groundglass.optics.opaque import is_followed, is_recorded, uncompiled


class OpticalBlock(nn.Module):
    """Dropout, Linear(d, N), BatchNorm, ReLU, [the synthetic gradient enters here] binarise, device N -> M, Linear(M, out).

    The BatchNorm is not in the paper. Features after ReLU and max-pooling share a large mean; without it
    most bits are the same for every image, and training is slow or fails (docs/log.md has the figures).

    Without a device the block is Dropout, Linear(d, N), BatchNorm, ReLU, [enters here] Linear(N, out): a linear head
    under the same training signal, the paper's first stage for features to transfer.

    Args:
        encoding: what enters the device or the linear layer. Default: bits with a device, floats without.
        head: "published-code": Dropout, Linear(d, N), ReLU, [enters here] binarise, device N -> M, ReLU of the readings less
            their mean (`Rectified`), Linear(M, out); readings are bytes / 255. Its threshold, the mean over the whole
            batch, is the encoding "bits-batch".
        linear_out: M, of that head without a device: [enters here] Linear(N, M), ReLU, Linear(M, out).
    """

    above: nn.Module | None
    encoding: Encoding
    optical: OpticalLayer | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        device: OpticalDevice | None,
        *,
        hidden: int,
        dropout: float,
        encoding: Encoding | None = None,
        head: Head = "normalised",
        linear_out: int | None = None,
    ) -> None:
        super().__init__()
        if linear_out is not None and (device is not None or head != "published-code"):
            raise ValueError("`linear_out` is for the head 'published-code' without a device")
        if device is not None and device.in_features != hidden:
            raise ValueError(f"the device takes {device.in_features} bits, the block has {hidden} features")
        self.dropout = nn.Dropout(dropout)
        self.head = head
        self.project = projection(in_features, hidden, head)
        self.above = None if linear_out is None else in_its_place(hidden, linear_out)
        inputs = (linear_out or hidden) if device is None else device.out_features
        self.readout = nn.Linear(inputs, out_features, dtype=torch.float32, device="cpu")
        if device is not None or linear_out is None:
            self.hold(device, encoding)
        else:
            self.encoding, self.optical, self.gain = encoding or "float", None, 1.0

    def hold(self, device: OpticalDevice | None, encoding: Encoding | None = None) -> None:
        """Put `device`, or none, below the readout, whose inputs must match. A Linear in a device's place goes."""
        self.encoding = encoding or ("float" if device is None else "bits")
        layer = FloatInputLayer if self.encoding == "float" else OpticalLayer
        self.optical = None if device is None else layer(device).train(self.training)
        # Thousands of inputs of spread 1: scaled so that a step of the classifier is as large as one of any other
        # layer, at the same learning rate.
        self.gain = 1.0 if device is None else (128 / device.out_features) ** 0.5
        if device is None or self.head != "published-code":
            self.above = None
            return
        self.gain = device.mean_reading / 255
        if not isinstance(self.above, Rectified):
            self.above = Rectified().to(self.readout.weight.device).train(self.training)

    @property
    def width(self) -> int:
        """N: features that are encoded."""
        linear = self.project[0]
        assert isinstance(linear, nn.Linear)
        return linear.out_features

    def features(self, x: Float[Tensor, "batch d"]) -> Float[Tensor, "batch n"]:
        """The features to be encoded: [batch, N], not negative."""
        return torch.relu(self.below(x))

    def below(self, x: Float[Tensor, "batch d"]) -> Float[Tensor, "batch n"]:
        """The features before their ReLU: [batch, N], of either sign."""
        found: Tensor = self.project(self.dropout(x))
        return found

    def classify(self, inputs: Float[Tensor, "batch n"]) -> Float[Tensor, "batch out"]:
        """From what enters the device to the output; no gradient passes the device."""
        return self._read(inputs if self.optical is None else self.optical(inputs))

    def _read(self, above: Tensor) -> Tensor:
        above = above.to(self.readout.weight.dtype)
        out: Tensor = self.readout((above if self.above is None else self.above(above)) * self.gain)
        return out

    @uncompiled(recursive=False)
    def forward(self, x: Float[Tensor, "batch d"]) -> Float[Tensor, "batch out"]:
        if isinstance(x, torch.fx.Proxy):
            raise TypeError(
                "torch.fx.symbolic_trace cannot follow an optical block: let your tracer's is_leaf_module be true for an "
                "OpticalBlock, or record the network with torch.export or make_fx"
            )
        linear = self.project[0]
        if isinstance(linear, nn.Linear) and x.shape[-1] != linear.in_features:
            raise ValueError(
                f"the optical block takes {linear.in_features} features, but got {list(x.shape)}: give "
                f"`in_features` (={x.shape[-1]}) to `defend`, or flatten what comes before"
            )
        # The optical part stays in float32 under autocast: a rounding error before a threshold is a flipped bit.
        with torch.autocast(x.device.type, enabled=False):
            below = self.below(x.to(self.readout.weight.dtype).contiguous())
            hidden = torch.relu(below)
            bits = encode(hidden, self.encoding)
            current = pass_of(self, bits)
            if current.until_features:
                raise ReachedError(hidden, below)
            above = bits if self.optical is None else self.optical(bits)
            if current.rule.site == "readings" and is_followed(hidden) and torch._C._get_tracing_state() is None:
                above = stitch(above, hidden, bits, current.rule)
            return current.leave(hidden, bits, self._read(above))

    def __prepare_scriptable__(self) -> NoReturn:
        raise TypeError(
            "an optical block cannot be TorchScript: record the network with torch.jit.trace, under torch.no_grad"
        )


@dataclass(frozen=True)
class Guess:
    """The number of logits was not read from the network itself: it was guessed, or told by the user.

    Attributes:
        seed: of B, if it has to be drawn again.
        told: whether the user gave the number.
    """

    seed: int
    told: bool


class DefendedNetwork(nn.Module):
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

    def forward(self, images: Tensor) -> Tensor:
        return self.run(images, self.training_rule())

    def seen_through(self, rule: BackwardRule) -> "View":
        """The same network and logits, with gradients by `rule`: what an attacker differentiates."""
        return View(self, rule)

    def features(self, images: Tensor) -> Tensor:
        """What the device's inputs are made of, [batch, N], not negative. Nothing is measured."""
        return self._reached(images)[0]

    def below(self, images: Tensor) -> Tensor:
        """The same before the ReLU, [batch, N]: whoever has the weights below the layer has these, and their gradient where a
        feature is off. Nothing is measured."""
        return self._reached(images)[1]

    def _reached(self, images: Tensor) -> tuple[Tensor, Tensor]:
        with running(Pass(self.block, Blocked(), until_features=True)):
            try:
                self.network(images)
            except ReachedError as reached:
                features, below = reached.args
                return features, below
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
    """A defended network with another backward rule; see `DefendedNetwork.seen_through`."""

    def __init__(self, defended: DefendedNetwork, rule: BackwardRule) -> None:
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
    seed: int,
) -> DefendedNetwork:
    """Put the optical layer into a classifier, in place of the module at `at`.

    `at` names a module of `network` that holds at least one `nn.Linear` and maps [batch, d] to [batch, k]: the last
    layer of a ResNet ("fc"), the head of a VGG ("head" here, "classifier" elsewhere), or a Linear half-way. d and k
    are read from the first and last Linear that it defines. `network` itself is changed, and is part of what is returned.

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
        seed: of the new weights and of B.

    Raises:
        TypeError: `network` is not a module, or `device` is not an optical device.
        ValueError: no such module (the nearest name is offered), or no Linear in it.
    """
    if not isinstance(network, nn.Module):
        raise TypeError(f"`network` must be a torch module, not a {type(network).__name__}")
    if device is not None and not isinstance(device, OpticalDevice):
        raise TypeError(
            f"`device` must be an optical device, as SimulatedOPU.create(512, 8000) makes one, not {device!r:.60}; one of your "
            "own has in_features, out_features, fingerprint, mean_reading and measure(bits)"
        )
    places = {name: module for name, module in network.named_modules() if name}
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
    if classes is None:
        guess, rows = Guess(derive_seed(seed, "B"), told=False), last_linear.out_features
    else:
        guess, rows = Guess(derive_seed(seed, "B"), told=True), fit(Count, classes, "classes")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "optical block"))
        d = linears[0].in_features if in_features is None else fit(Count, in_features, "in_features")
        k = linears[-1].out_features if out_features is None else fit(Count, out_features, "out_features")
        settings: dict[str, Any] = {"encoding": encoding, "head": fit(Head, head, "head")}
        if linear_out is not None:
            settings["linear_out"] = fit(Count, linear_out, "linear_out")
        block = OpticalBlock(d, k, device, hidden=n, dropout=dropout, **settings)
    block.train(place.training).to(linears[0].weight.device)
    parent, _, leaf = at.rpartition(".")
    setattr(network.get_submodule(parent), leaf, block)
    feedback = draw_feedback(rows, n, seed=guess.seed).to(last_linear.weight.device)
    return DefendedNetwork(network, at, feedback=feedback, guess=guess)


def _last_linear(network: nn.Module) -> nn.Linear:
    """The one that is defined last; it need not be the one that gives the logits."""
    return [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
