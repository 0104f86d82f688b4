"""Cells of adversarial images that are made on some networks and tried on others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from groundglass.attacks import AttackCheckpoint, AttackResult, GradientAccess, Linf, QueryAttack, ScoreAccess
from groundglass.attacks.adversarial_files import AdversarialSet, Origin, load_adversarial, save_adversarial
from groundglass.attacks.ensemble import Ensemble
from groundglass.attacks.scheduler import earlier_seconds
from groundglass.attacks.transfer import TransferPGD
from groundglass.core import derive_seed
from groundglass.core.settings import Count, Tally, settings_of
from groundglass.models import predict_logits
from groundglass.results import Record
from groundglass.results.kinds.craft import CRAFT, CommonResult, CraftResult, TransferConfig, TransferResult
from groundglass.studies.cells.attack import TRUE_MATRIX_RULES, BallCell, Purpose, rewind, seen_by
from groundglass.studies.cells.network import NEEDS_U, NetworkCell, is_given
from groundglass.studies.engine.cell import BaseCell, Cell, Outcome, filled, key_of, scratch_of
from groundglass.studies.engine.context import Context


@dataclass(frozen=True)
class CommonCell(BaseCell):
    """Those of the first `n_images` test images that every one of some networks gets right (paper, section 3.2.2).

    Attributes:
        confirmations: of networks with noise: how often each is asked; at least half of the answers must be right.
    """

    networks: tuple[NetworkCell, ...]
    n_images: Count
    confirmations: Count = 1

    kind = "common"

    @property
    def name(self) -> str:
        return f"images that all {len(self.networks)} networks get right"

    def described(self) -> dict[str, Any]:
        return {"models": tuple(n.name for n in self.networks)}

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        subset = context.dataset.test.head(self.n_images)
        images = subset.floats().to(context.where)
        right = {r.name: by_majority(context.network(r), images, subset.labels, self.confirmations)[1] for r in inputs}
        index = torch.stack(list(right.values())).all(0).nonzero().squeeze(1)
        if not len(index):
            raise ValueError(
                f"none of the first {self.n_images} test images is classified right by all of {', '.join(right)}: "
                "there is nothing to transfer. Train longer, or take more images"
            )
        return Outcome(
            CommonResult(
                n_images=len(subset),
                common=len(index),
                right=tuple((name, int(flags.sum())) for name, flags in right.items()),
            ),
            {"index": index.numpy(), "label": subset.labels[index].numpy()},
        )


@dataclass(frozen=True, kw_only=True)
class CraftCell(BallCell):
    """Adversarial images of the common ones, made on one network or several, audited and saved.

    Attributes:
        label: of the attacker, for people.
        sources: networks with the rule by which each is differentiated; see `studies.rules`. Several are an ensemble.
        attack: by gradients, or by queries on a single source.
        budget: queries an image, for a query attack.
        fit_images: natural training images that a fitted surrogate has seen.
    """

    label: str
    common: CommonCell
    sources: tuple[tuple[NetworkCell, str], ...]
    attack: TransferPGD | QueryAttack
    budget: Count | None = None
    fit_images: Tally = 0
    seed: int
    purpose: Purpose

    kind = "craft"

    @property
    def name(self) -> str:
        on = " + ".join(network.name for network, _ in self.sources)
        return f"{self.label} on {on} ({self.ball_name})"

    @property
    def inputs(self) -> Sequence[Cell]:
        return (self.common, *(network for network, _ in self.sources))

    def described(self) -> dict[str, Any]:
        rules = tuple(rule for _, rule in self.sources)
        return {
            **super().described(),
            "sources": tuple(network.name for network, _ in self.sources),
            "rules": rules,
            "attack": type(self.attack).__name__,
            "settings": settings_of(self.attack),
            "fit_images": self.fit_images if any(rule.startswith("bpda-fit") for rule in rules) else None,
        }

    def needs(self) -> str:
        exact = any(rule in TRUE_MATRIX_RULES and is_given(network) for network, rule in self.sources)
        return NEEDS_U if exact else ""

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        common, *trained = inputs
        index, images, labels = _images(common, context)
        seed = derive_seed(self.seed, "craft", self.label)
        ball, checkpoint = Linf(self.eps), AttackCheckpoint(scratch_of(self, context))
        if isinstance(self.attack, TransferPGD):
            views = [
                seen_by(rule, record, context, fit_images=self.fit_images, seed=self.seed)[0]
                for record, (_, rule) in zip(trained, self.sources, strict=True)
            ]
            access = GradientAccess(_together(views))
            claimed = self.attack(access, images, labels, ball, seed=seed, indices=index, checkpoint=checkpoint)
            earlier = checkpoint.earlier_seconds
        else:
            earlier = earlier_seconds(checkpoint.path)
            claimed = self.attack(
                ScoreAccess(context.target(trained[0]), per_image=self.budget),
                images,
                labels,
                ball,
                seed=seed,
                indices=index,
                checkpoint=checkpoint.path,
                progress=context.progress,
            )
        itself = GradientAccess(_together([context.network(record) for record in trained]))
        result = _settled(claimed, itself, labels)
        path = Path("adversarial") / f"{key_of(self)}.safetensors"
        made = AdversarialSet(self.origin(trained), result.adversarial, labels, result.success, index)
        save_adversarial(context.folder / path, made, images, itself)
        norms = result.norm[result.success]
        return Outcome(
            CraftResult(
                n_images=len(result),
                fooled=int(result.success.sum()),
                unconfirmed=int(claimed.success.sum() - result.success.sum()),
                gradients=int(result.gradients.sum()),
                queries=int(result.queries.sum()),
                median_norm=float(norms.median()) if len(norms) else None,
                file=str(path),
                right=int(result.clean_correct.sum()),
            ),
            {
                "index": index.numpy(),
                "success": result.success.cpu().numpy(),
                "norm": result.norm.float().cpu().numpy(),
            },
            earlier_seconds=earlier,
            scratch=checkpoint.path,
        )

    def origin(self, trained: Sequence[Record]) -> Origin:
        """What the file must say of itself, before its images are used."""
        return Origin(
            source=" + ".join(record.key for record in trained),
            attack=repr(self.attack),
            ball=Linf(self.eps),
            seed=derive_seed(self.seed, "craft", self.label),
        )


@dataclass(frozen=True)
class TransferCell(BaseCell):
    """Adversarial images tried on a network that they were not made on; audited before they are used.

    Attributes:
        confirmations: of a target with noise: how often it is asked whether an image fools it; more than half must say so.
    """

    crafted: CraftCell
    target: NetworkCell
    confirmations: Count = 1

    kind = "transfer"

    @property
    def name(self) -> str:
        return f"{self.target.name} <- {self.crafted.name}"

    @property
    def inputs(self) -> Sequence[Cell]:
        return (self.crafted, self.target, *self.crafted.inputs)

    def config(self) -> TransferConfig:
        own = {"target": self.target.name, "confirmations": self.confirmations}
        return filled(TransferConfig, self.crafted.config(), **own)

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        crafted, target, common, *sources = inputs
        index, _, labels = _images(common, context)
        found = load_crafted(self.crafted, (crafted, common, *sources), context)
        prediction, correct = by_majority(context.network(target), found.adversarial, labels.cpu(), self.confirmations)
        fooled = found.claimed.cpu()
        return Outcome(
            TransferResult(
                n_images=len(index),
                correct=int(correct.sum()),
                fooled_source=int(fooled.sum()),
                also_fooled=int((fooled & ~correct).sum()),
            ),
            {
                "index": index.numpy(),
                "label": labels.cpu().numpy(),
                "prediction": prediction.numpy(),
                "correct": correct.numpy(),
                "fooled_source": fooled.numpy(),
            },
        )


def by_majority(network: nn.Module, images: Tensor, labels: Tensor, times: int) -> tuple[Tensor, Tensor]:
    """The class that a network says of each image most often; and which images at least half of its answers get right."""
    rewind(network)
    answers = torch.stack([predict_logits(network, images).argmax(1).cpu() for _ in range(times)])
    return answers.mode(0).values, 2 * (answers != labels).sum(0) <= times


def _images(common: Record, context: Context) -> tuple[Tensor, Tensor, Tensor]:
    """Numbers, images and labels of the common set."""
    index = torch.from_numpy(context.arrays(common)["index"].astype(np.int64))
    test = context.dataset.test
    return index, test.floats(index).to(context.where), test.labels[index].to(context.where)


def load_crafted(cell: CraftCell, records: Sequence[Record], context: Context) -> AdversarialSet:
    """The adversarial images that a cell made, audited.

    Args:
        records: of the cell, and of its inputs.
    """
    crafted, common, *sources = records

    def load() -> AdversarialSet:
        index, images, labels = _images(common, context)
        itself = GradientAccess(_together([context.network(record) for record in sources]))
        path = context.file(crafted, CRAFT.result_of(crafted).file)
        return load_adversarial(path, images, labels, itself, origin=cell.origin(sources), indices=index)

    found: AdversarialSet = context.latest("adversarial", crafted.key, load)
    return found


def _together(models: Sequence[nn.Module]) -> Callable[[Tensor], Tensor]:
    return models[0] if len(models) == 1 else Ensemble(models)


def _settled(claimed: AttackResult, access: GradientAccess, labels: Tensor) -> AttackResult:
    """Successes confirmed by the sources themselves, in the batches in which the audit will ask again.

    A success that is withdrawn shifts the others into other batches, where the last bit of a logit may differ.
    """
    while True:
        result = claimed.confirmed(access, labels)
        if torch.equal(result.success, claimed.success):
            return result
        claimed = result
