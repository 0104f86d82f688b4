"""Cells that fit a guard, send it rows, and retrieve U with rows that it cannot tell from natural ones."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor

from groundglass.attacks import PGD, GradientAccess, Linf
from groundglass.core import derive_seed, generator, normal, permutation, uniform
from groundglass.core.settings import Count, In, Positive
from groundglass.data import ImageSet
from groundglass.models import DefendedNetwork
from groundglass.optics.retrieval import INPUT_SOURCES, METHODS, GivenInputs, RetrievalMethod, Scale
from groundglass.results import Record
from groundglass.results.kinds.guard import GUARD, GuardResult, Noticed, WatchResult
from groundglass.service.guard import GuardSettings, NaturalBits
from groundglass.studies.cells.attack import rewind, seen_by
from groundglass.studies.cells.cached_bits import cached_bits
from groundglass.studies.cells.network import NetworkCell
from groundglass.studies.cells.retrieve import RetrieveCell
from groundglass.studies.engine.cell import BaseCell, Outcome, key_of
from groundglass.studies.engine.context import Context
from groundglass.training.encoding import encode_bits

#: Rows of honest clients: new images; of one class alone; under noise; attacked.
HONEST = ("images", "one class", "noisy images", "attacked images")
#: Rows of a retrieval: inputs of each method, and natural-looking ones.
RETRIEVALS = (*METHODS, "shares", "pairs")
Traffic = Literal[
    "images",
    "one class",
    "noisy images",
    "attacked images",
    "fixed-exposure",
    "multilateration",
    "closed-form",
    "shares",
    "pairs",
]
# Std of the noise on images, of [0, 1]; and the radius and steps of their attack.
_NOISE, _RADIUS, _STEPS = 0.05, 8 / 255, 10
# So many images are attacked, or noisy, at the most; a short stream sends each of them so many times.
_CHANGED, _TIMES = 500, 8
# Frames of a retrieval of which each stream begins somewhere.
_PER_INPUT = 16


@dataclass(frozen=True, kw_only=True)
class GuardCell(BaseCell):
    """A guard that is fitted to the bits of all training images and calibrated with those of the first half of the test
    images."""

    network: NetworkCell
    by_class: bool = False

    kind = "guard"

    @property
    def name(self) -> str:
        return f"guard of {self.network.name}{', by class' if self.by_class else ''}"

    def described(self) -> dict[str, Any]:
        return {"model": self.network.name}

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        rows = _bits(inputs[0], context, context.dataset.train)
        held, labels = _half(inputs[0], context, first=True)
        guard = NaturalBits.fit(
            rows, held, groups=labels if self.by_class else None, settings=GuardSettings(together=False)
        )
        path = f"guards/{key_of(self)}.safetensors"
        guard.save(context.folder / path)
        result = GuardResult(
            guard=path,
            in_features=guard.in_features,
            fitted=len(rows),
            calibrated=guard.calibrated,
            strong=guard.looks.strong,
            beyond_all=float(guard.shares[:, 0].max()),
        )
        return Outcome(result)


@dataclass(frozen=True, kw_only=True)
class WatchCell(BaseCell):
    """When the guard speaks, as rows of one kind come in, alone or among rows of images that it has not seen.

    Attributes:
        share: of the rows that are of that kind; each row by itself, at random.
        streams: how many, each with a seed of its own.
        frames: of a stream, at the most.
        limits: of the guard, rising; see `GuardSettings.frames`.
    """

    network: NetworkCell
    guard: GuardCell
    traffic: Traffic
    share: Annotated[float, In("(0, 1]")] = 1.0
    streams: Count
    frames: Count
    limits: tuple[Positive, ...]
    seed: int

    kind = "watch"

    @property
    def name(self) -> str:
        mixed = "" if self.share == 1 else f", {100 * self.share:g}% of the rows"
        return f"{self.guard.name} <- {self.traffic}{mixed}"

    def described(self) -> dict[str, Any]:
        return {"by_class": self.guard.by_class}

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        guard = NaturalBits.load(context.file(inputs[1], GUARD.result_of(inputs[1]).guard))
        found = []
        for stream in range(self.streams):
            rows = self._rows(stream, inputs[0], context)
            found.append(guard.stakes(guard.factors(rows), self.limits))
            context.progress("streams", stream + 1, self.streams)
        noticed = tuple(self._noticed([one[k] for one in found], limit) for k, limit in enumerate(self.limits))
        return Outcome(WatchResult(streams=self.streams, noticed=noticed))

    def _noticed(self, found: Sequence[tuple[int, str] | None], limit: float) -> Noticed:
        frames = np.array([one[0] for one in found if one is not None])
        names = [one[1] for one in found if one is not None]
        most = max(sorted(set(names)), key=names.count) if names else ""
        # Of all streams: one in which it does not speak takes longer than any in which it does.
        all_of_them = sorted([*frames.tolist(), *[np.inf] * (self.streams - len(frames))])
        median = float(np.median(all_of_them))
        return Noticed(
            limit=limit,
            found=len(frames),
            watched=int(frames.sum()) + (self.streams - len(frames)) * self.frames,
            median=median if np.isfinite(median) else None,
            low=float(np.quantile(frames, 0.05)) if len(frames) else None,
            high=float(np.quantile(frames, 0.95)) if len(frames) else None,
            name=most,
        )

    def _rows(self, stream: int, network: Record, context: Context) -> Tensor:
        natural, labels = _half(network, context, first=False)
        seed = derive_seed(self.seed, "watch", self.traffic, stream)
        if self.traffic in RETRIEVALS:
            own = self._retrieval(stream, natural, seed, network, context)
        elif self.traffic == "one class":
            classes = labels.unique()
            own = _drawn(natural[labels == classes[stream % len(classes)]], self.frames, seed)
        elif self.traffic == "images":
            own = _drawn(natural, self.frames, seed)
        else:
            own = _drawn(self._changed(network, context), self.frames, seed)
        if self.share == 1:
            return own
        others = _drawn(natural, self.frames, derive_seed(seed, "among"))
        theirs = uniform(self.frames, generator=generator(seed, "which")) < self.share
        # Those of the retrieval in their order.
        places = torch.nonzero(theirs)[:, 0]
        others[places] = own[torch.arange(len(places), dtype=torch.int64, device="cpu") % len(own)]
        return others

    def _retrieval(self, stream: int, natural: Tensor, seed: int, network: Record, context: Context) -> Tensor:
        n = natural.shape[1]
        if self.traffic in INPUT_SOURCES:
            known = _bits(network, context, context.dataset.train)
            source = context.memo(f"{network.key}/{self.traffic}", lambda: INPUT_SOURCES[self.traffic](known))
            drawn: Tensor = source.draw(min(self.frames, _PER_INPUT * n), seed=seed)
            return drawn
        method = METHODS[self.traffic]()
        design = method.design(n, _PER_INPUT * n, Scale(255, 50.0), seed=seed)
        begin = int(np.random.default_rng(seed).integers(len(design)))
        end = min(len(design), begin + self.frames)
        rows = design.bits(begin, end)
        return torch.cat((rows, design.bits(0, min(begin, self.frames - len(rows)))))

    def _changed(self, network: Record, context: Context) -> Tensor:
        """Bits of held-out images under noise, or attacked; the same for all streams."""

        def make() -> Tensor:
            test = context.dataset.test
            count = min(_CHANGED, -(-self.frames // _TIMES))
            part = slice(len(test) // 2, len(test) // 2 + count)
            images, labels = test.floats(part).to(context.where), test.labels[part].to(context.where)
            model = context.network(network)
            assert isinstance(model, DefendedNetwork)
            if self.traffic == "noisy images":
                noise = normal(*images.shape, generator=generator(self.seed, "noisy images")).to(images.device)
                images = (images + _NOISE * noise).clamp(0, 1)
            else:
                rewind(model)
                seen, _ = seen_by("dfa", network, context, fit_images=0, seed=self.seed)
                attack = PGD(steps=_STEPS, step_size=_RADIUS / 4)
                images = attack(GradientAccess(seen), images, labels, Linf(_RADIUS), seed=self.seed).adversarial
            return encode_bits(model, (images.cpu(), labels.cpu()))

        changed: Tensor = context.memo(f"{network.key}/{self.traffic}/{self.seed}/{self.frames}", make)
        return changed


@dataclass(frozen=True, kw_only=True)
class EvadingCell(RetrieveCell):
    """Retrieve some rows of a network's own U with inputs that look like those of its training images, or are.

    Attributes:
        inputs_from: a name of `INPUT_SOURCES`.
    """

    network: NetworkCell
    inputs_from: Literal["natural", "shares", "pairs"]

    @property
    def name(self) -> str:
        return f"U from {self.per_input:.3g} N frames of {self.inputs_from} inputs"

    def described(self) -> dict[str, Any]:
        settings = {f.name: f.default for f in fields(GivenInputs) if f.name != "source"}
        return {
            **super().described(),
            "method": f"given-inputs, {self.inputs_from}",
            "settings": {"inputs": self.inputs_from, **settings},
        }

    def chosen(self, inputs: Sequence[Record], context: Context) -> RetrievalMethod:
        known = _bits(inputs[1], context, context.dataset.train)
        return GivenInputs(INPUT_SOURCES[self.inputs_from](known))


def _bits(network: Record, context: Context, images: ImageSet) -> Tensor:
    """What enters the network's device, uint8 [images, N]; from the cache beside the network."""

    def make() -> Tensor:
        model = context.network(network)
        assert isinstance(model, DefendedNetwork)
        return cached_bits(model, images, context.network_file(network).parent, context.progress)[0]

    bits: Tensor = context.memo(f"{network.key}/{images.split} bits", make)
    return bits


def _half(network: Record, context: Context, *, first: bool) -> tuple[Tensor, Tensor]:
    """Bits and labels of a half of the test images: the first calibrates, the second is honest traffic."""
    test = context.dataset.test
    part = slice(len(test) // 2) if first else slice(len(test) // 2, None)
    return _bits(network, context, test)[part], test.labels[part]


def _drawn(rows: Tensor, count: int, seed: int) -> Tensor:
    """So many of the rows, in an order of the seed; where there are fewer, all of them again in another order."""
    rounds = -(-count // len(rows))
    each = [permutation(len(rows), generator=generator(seed, "order", k)) for k in range(rounds)]
    return rows[torch.cat(each)[:count]]
