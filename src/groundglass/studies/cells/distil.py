"""Cells that make a surrogate: a network of an attacker's own, distilled from what a deployed network answers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from groundglass.attacks import LabelAccess, ScoreAccess
from groundglass.core import derive_seed, generator, permutation
from groundglass.core.settings import Count, Positive
from groundglass.data import Batch, ImageSet, batches
from groundglass.models import ModelSpec, build, predict_logits, save_model
from groundglass.results import Record
from groundglass.results.kinds.distil import DistilResult
from groundglass.studies.cells.attack import rewind
from groundglass.studies.cells.network import NetworkCell, described_spec, described_training, stem
from groundglass.studies.engine.cell import BaseCell, Outcome, scratch_of
from groundglass.studies.engine.context import Context
from groundglass.training import BackProp, TrainingConfig, train
from groundglass.training.checkpoint import begun

Answers = Literal["scores", "labels"]


@dataclass(frozen=True, kw_only=True)
class DistilCell(BaseCell):
    """Ask a network about natural images, and train another on its answers by backpropagation.

    Model extraction (Tramèr et al. 2016), on natural images as in Knockoff Nets (Orekondy et al. 2019). The attacker
    has no weights, no bits and no label: only public images, here training images without their labels. Each is
    asked about once. An augmented image gets the answer of its original, which costs no query.

    Differences from Knockoff Nets: the images are of the target's own distribution, and drawn at random, not by a
    learned policy. Papernot et al. (2017) ask about images that they make, from few natural ones: these are not made.

    Attributes:
        target: the network that is asked; nothing but its answers is used.
        answers: "scores", all logits, or "labels", the predicted class alone.
        queries: images asked about. Fewer queries are the first of more, in an order that the seed draws.
        temperature: logits are divided by it before their softmax is learned (Hinton et al. 2015): what a target that is sure
            of its training images says of the other classes is seen. Of no effect with labels.
        spec: of the surrogate, an ordinary network.
        training: its epochs are over the queried images.
        begin: a network of the attacker's own, of the same form, whose training goes on with the answers. None: the surrogate
            begins untrained, and the attacker needs no label of any image.
    """

    target: NetworkCell
    answers: Answers
    queries: Count
    temperature: Positive
    spec: ModelSpec
    training: TrainingConfig
    data: str
    seed: int
    begin: NetworkCell | None = None

    kind = "distil"

    @property
    def name(self) -> str:
        before = "VGG-16" if self.begin is None else f"{self.begin.name} tuned"
        return f"{before} from {self.queries} {self.answers} of {self.target.name}"

    def described(self) -> dict[str, Any]:
        return {
            "target": self.target.name,
            "temperature": self.temperature if self.answers == "scores" else None,
            "model": described_spec(self.spec),
            "training": described_training(self.training, "bp"),
            "begin": None if self.begin is None else self.begin.name,
        }

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        asked, *before = inputs
        target, test = context.target(asked), context.dataset.test
        rewind(context.network(asked))
        images, learned = self._ask(target, context)
        # The same weights and the same order of images whatever was asked: surrogates differ by the answers alone.
        surrogate = build(self.spec, seed=derive_seed(self.seed, "surrogate", "weights")).to(context.where)
        if before:
            surrogate.load_state_dict(context.network(before[0]).state_dict())
        checkpoint = scratch_of(self, context)
        earlier = begun(checkpoint).seconds
        history = train(
            surrogate,
            images,
            self.training,
            credit=BackProp(),
            seed=derive_seed(self.seed, "surrogate", "training"),
            augment=context.dataset.augment,
            answers=learned,
            checkpoint=checkpoint,
            progress=context.progress,
            name=self.name,
        )
        path = context.folder / "models" / f"{stem(self.name)}.safetensors"
        save_model(path, surrogate, replace(self.spec, trained_on=context.dataset.name))
        own = _classes(surrogate, test)
        rewind(context.network(asked))
        found = DistilResult(
            checkpoint=str(path.relative_to(context.folder)),
            n_test=len(test),
            right=int((own == test.labels).sum()),
            agreed=int((own == context.memo(f"classes/{asked.key}", lambda: _classes(target, test))).sum()),
            parameters=sum(p.numel() for p in surrogate.parameters()),
            train_seconds=round(sum(epoch.seconds for epoch in history), 2),
            precision=self.training.precision,
        )
        return Outcome(found, earlier_seconds=earlier, scratch=checkpoint)

    def _ask(self, target: nn.Module, context: Context) -> tuple[ImageSet, Tensor | None]:
        """The queried images with the classes that the target says, and what is learned of its scores."""
        public = context.dataset.train
        if self.queries > len(public):
            raise ValueError(f"{self.queries} queries: {public.name} has {len(public)} public images")
        order = permutation(len(public), generator=generator(self.seed, "surrogate", "queries"))[: self.queries]
        chosen = replace(public, images=public.images[order], labels=public.labels[order])
        if self.answers == "labels":
            labels = LabelAccess(target)
            told = torch.cat([labels.labels(batch.images.to(context.where)).cpu() for batch in _batches(chosen)])
            return replace(chosen, labels=told), None
        scores = ScoreAccess(target)
        logits = torch.cat([scores.logits(batch.images.to(context.where)).cpu() for batch in _batches(chosen)]).float()
        return replace(chosen, labels=logits.argmax(1)), F.softmax(logits / self.temperature, 1)


def _batches(images: ImageSet) -> Iterator[Batch]:
    return batches(images, batch_size=500, seed=0, epoch=0, shuffle=False)


def _classes(network: nn.Module, images: ImageSet) -> Tensor:
    return torch.cat([predict_logits(network, batch.images).argmax(1).cpu() for batch in _batches(images)])
