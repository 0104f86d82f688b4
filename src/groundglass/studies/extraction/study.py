"""Who has no weights and no bits asks the deployed network, distils a surrogate, and attacks with that.

Threat model: the attacker sees what the network answers about images of its choice (all logits, or the class alone), and has
public images of the kind, without labels. Sources: Tramèr et al. 2016 (model extraction); Papernot et al. 2017 (transfer
from a surrogate); Orekondy et al. 2019 (Knockoff Nets); Cheng et al. 2019 (a transfer prior for queries).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from typing import Any

from groundglass.attacks import InputDiversity, Square, SurrogatePGD, paper_eps_to_pixels
from groundglass.core.settings import Count, Positive
from groundglass.core.statistics import Proportion
from groundglass.data import Dataset
from groundglass.results import Record
from groundglass.results.kinds import CRAFT, DISTIL, QUERY
from groundglass.studies import kit
from groundglass.studies.cells.attack import widest
from groundglass.studies.cells.check import Check, check_cells, entries
from groundglass.studies.cells.craft import CommonCell, CraftCell, TransferCell
from groundglass.studies.cells.distil import Answers, DistilCell
from groundglass.studies.cells.network import NetworkCell
from groundglass.studies.cells.query import QueryCell
from groundglass.studies.engine.cell import Cell, with_inputs
from groundglass.studies.recipe import CIFAR, FOR_A_GPU, QUICK_COST, QUICK_EXPECT, SMALL, recipe
from groundglass.studies.transfer import study as transfer
from groundglass.training import OneCycle, Precision, TrainingConfig


@dataclass(frozen=True, kw_only=True)
class ExtractionConfig(kit.TargetsConfig):
    """A study of extraction, complete. Its networks are the transfer study's.

    Attributes:
        lower, lower_classifier: as of the transfer study.
        queries: numbers of natural images that each target is asked about.
        answers: what it answers: "scores", "labels", or both.
        surrogate: how a surrogate that begins untrained is trained, by most queries alone where `tuned` is there too; without
            its epochs:
        image_steps: those are as many as pass so many images, but at least one,
        most_epochs: and at most so many: few queries are learned for longer.
        tuned: how the attacker's own network goes on to learn the answers: who has labels of public images too. None leaves
            that out.
        tuned_steps: of that, as `image_steps`.
        temperature: of the scores that a surrogate learns which begins untrained, see `DistilCell`. Tuned is at 1: a network that
            is sure of its classes would first unlearn that.
        controls: the features of the VGG-OPUs, under the linear head that they were trained under, are extracted too, by
            most queries for scores: what the layer does not bring.
        n_images: of the first so many test images, those that the targets and the attacker's own network get right.
        eps_paper: L-inf radii on the paper's axis.
        steps, step_paper: of the paper's PGD; the step on the paper's axis. From the surrogates of most queries alone.
        stronger_steps: of MI-DI, each of 2.5 times radius / steps.
        query_images: of these, so many of the first test images are attacked by queries too.
        query_eps_paper: at this radius, one of `eps_paper`.
        budget: of queries an image.
        attack: by queries, which can start from an image.
    """

    lower: TrainingConfig
    lower_classifier: TrainingConfig
    queries: tuple[Count, ...] = (1_000, 5_000, 20_000)
    answers: tuple[Answers, ...] = ("scores", "labels")
    surrogate: TrainingConfig
    image_steps: Count = 100_000
    most_epochs: Count = 20
    tuned: TrainingConfig | None = None
    tuned_steps: Count = 40_000
    temperature: Positive = 4.0
    controls: bool = True
    n_images: Count
    eps_paper: tuple[kit.PaperRadius, ...] = (0.02, 0.04, 0.1)
    steps: Count = 50
    step_paper: kit.PaperRadius = 0.01
    stronger_steps: Count = 20
    query_images: Count = 150
    query_eps_paper: kit.PaperRadius = 0.04
    budget: Count = 500
    attack: Square = field(default_factory=Square)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("queries", "answers", "eps_paper"):
            if not getattr(self, name):
                raise ValueError(f"`{name}` is empty: give one at least")
        if self.query_eps_paper not in self.eps_paper:
            raise ValueError(
                f"query_eps_paper (={self.query_eps_paper:g}) must be one of eps_paper: its images are started from"
            )


def cells(config: ExtractionConfig, dataset: Dataset) -> list[Cell]:
    """Every cell of the study, in an order in which inputs come first."""
    higher, lower = transfer.defended(config, dataset)
    controls = (higher.features, lower.features) if config.controls else ()
    targets = (kit.baseline_network(config, dataset), higher, lower)
    own = transfer.attackers_vgg(config, dataset)
    common = CommonCell((*targets, *controls, own), config.n_images)
    found: list[Cell] = []
    for target in (*targets, *controls):
        surrogates = _surrogates(config, dataset, target, own, is_control=target in controls)
        sources: tuple[NetworkCell, ...] = (*surrogates, own)
        for source in sources:
            crafted = list(_crafted(config, dataset, common, source))
            found += [TransferCell(made, target) for made in crafted]
            # Queries start from the attacker's own network and what became of it by most queries; without it, from the others.
            begun = not isinstance(source, DistilCell) or config.tuned is None or source.begin is not None
            if target in targets and _most(config, source) and begun:
                found += [_query(config, dataset, target, made) for made in crafted if _starts(config, made)]
        found += [_query(config, dataset, target, None)] if target in targets else []
    plan = with_inputs(found)
    checks = check_cells(CHECKS, [cell for cell in plan if cell.kind in ("distil", "craft", "query")])
    return with_inputs([*targets, *controls, own, *kit.audits(config, dataset, targets), *plan, *checks])


def _surrogates(
    config: ExtractionConfig, dataset: Dataset, target: NetworkCell, own: NetworkCell, *, is_control: bool
) -> Iterator[DistilCell]:
    """The attacker's own network tuned on the answers; and, by most queries or where that is left out, one that begins
    untrained."""
    most, spec = max(config.queries), kit.baseline_network(config, dataset).spec
    for queries, answers in [(queries, answers) for queries in config.queries for answers in config.answers]:
        if is_control and (queries, answers) != (most, config.answers[0]):
            continue
        begins: list[tuple[NetworkCell | None, TrainingConfig, int]] = []
        if config.tuned is not None:
            begins.append((own, config.tuned, config.tuned_steps))
        if config.tuned is None or (queries == most and not is_control):
            begins.append((None, config.surrogate, config.image_steps))
        for begin, training, steps in begins:
            epochs = min(config.most_epochs, max(1, round(steps / queries)))
            yield DistilCell(
                target=target,
                answers=answers,
                queries=queries,
                temperature=config.temperature if begin is None else 1.0,
                spec=spec,
                training=replace(training, epochs=epochs),
                data=config.data,
                seed=config.seed,
                begin=begin,
            )


def _most(config: ExtractionConfig, source: NetworkCell) -> bool:
    """The attacker's own network, or a surrogate of most queries."""
    return not isinstance(source, DistilCell) or source.queries == max(config.queries)


def mi_di(ball: Mapping[str, Any], steps: int) -> SurrogatePGD:
    """The strongest attack of the transfer study that needs one source alone, in a ball of `kit.on_paper_axis`."""
    size = 2.5 * widest(ball["eps"]) / steps
    return SurrogatePGD(steps=steps, step_size=size, momentum=1.0, diversity=InputDiversity())


def _crafted(
    config: ExtractionConfig, dataset: Dataset, common: CommonCell, source: NetworkCell
) -> Iterator[CraftCell]:
    """The paper's attack, and the strongest of the transfer study that needs one source alone."""
    step = widest(paper_eps_to_pixels(config.step_paper, dataset.std))
    plain = SurrogatePGD(steps=config.steps, step_size=step)
    for ball in kit.on_paper_axis(dataset, *config.eps_paper):
        strong = mi_di(ball, config.stronger_steps)
        for label, attack in (("PGD", plain), ("MI-DI", strong)):
            if label == "MI-DI" or _most(config, source):
                shared: dict[str, Any] = {"seed": config.seed, "purpose": "extraction", **ball}
                yield CraftCell(label=label, common=common, sources=((source, "bp"),), attack=attack, **shared)


def _starts(config: ExtractionConfig, made: CraftCell) -> bool:
    return made.label == "MI-DI" and made.eps_paper == config.query_eps_paper


def _query(config: ExtractionConfig, dataset: Dataset, target: NetworkCell, start: CraftCell | None) -> QueryCell:
    """An attack by queries: blind, or from where a transferred attack ended."""
    (ball,) = kit.on_paper_axis(dataset, config.query_eps_paper)
    return QueryCell(
        target=target,
        attack=config.attack,
        budget=config.budget,
        n_images=config.query_images,
        seed=config.seed,
        purpose="extraction",
        start=start,
        **ball,
    )


# Of the images that a source gets right, at the largest radius: fewer, and the attack is too weak on its own network to say
# anything of others. Surrogates that get most images wrong are not asked.
_FOOLED = 0.9


def _sources_fooled(records: Sequence[Record]) -> dict[str, float]:
    largest: dict[str, Any] = {}
    for one in sorted(entries(records, CRAFT), key=lambda one: one.config.eps):
        if one.result.right is not None and 2 * one.result.right >= one.result.n_images:
            largest[f"{one.config.label} on {one.config.made_on}"] = Proportion(one.result.fooled, one.result.right)
    return {who: round(fooled.share, 4) for who, fooled in largest.items() if fooled.interval[1] < _FOOLED}


def _worse_with_more(records: Sequence[Record]) -> dict[str, list[float]]:
    """Surrogates of one network and one kind of answer that began alike, by their queries."""
    curves: dict[tuple[str, str, str | None], list[Any]] = {}
    for one in sorted(entries(records, DISTIL), key=lambda one: one.config.queries):
        curves.setdefault((one.config.target, one.config.answers, one.config.begin), []).append(one)
    return {
        more.name: [one.result.agreement.share for one in (few, more)]
        for curve in curves.values()
        for few, more in pairwise(curve)
        if more.result.agreement.clearly_below(few.result.agreement)
    }


def _over_budget(records: Sequence[Record]) -> dict[str, int]:
    over = [one for one in entries(records, QUERY) if one.result.most_queries > one.config.budget]
    return {one.name: one.result.most_queries for one in over}


FOOLS_ITS_SOURCE = Check(
    "images fool the surrogate they were made on",
    f"at the largest radius at least {_FOOLED:.0%} of the images that their source gets right, where that is half of all",
    _sources_fooled,
)
#: Signs that a figure of extraction is not what it seems.
CHECKS = (
    FOOLS_ITS_SOURCE,
    Check("more queries make no worse surrogate", "agreement does not fall with the queries", _worse_with_more),
    Check("extraction's queries within budget", "no image took more queries than its budget", _over_budget),
)


def _of_transfer(config: Any) -> dict[str, Any]:
    """The networks of a transfer study: with it in one folder, each is trained once."""
    shared = {one.name: getattr(config, one.name) for one in fields(kit.TargetsConfig)}
    return {**shared, "lower": config.lower, "lower_classifier": config.lower_classifier}


@recipe(SMALL, QUICK_COST, QUICK_EXPECT)
def quick(data: str, seed: int, precision: Precision) -> ExtractionConfig:
    """One number of queries, one radius."""
    shared = _of_transfer(transfer.quick.make(data, seed, precision))
    return ExtractionConfig(
        **shared,
        queries=(200,),
        surrogate=replace(shared["baseline"], batch_size=25),
        image_steps=200,
        tuned=replace(shared["baseline"], batch_size=25, learning_rate=0.02),
        tuned_steps=200,
        controls=False,
        n_images=120,
        eps_paper=(2 * kit.QUICK_RADII[-1],),
        steps=10,
        step_paper=0.016,
        stronger_steps=10,
        query_images=24,
        query_eps_paper=2 * kit.QUICK_RADII[-1],
        budget=30,
    )


@recipe(
    CIFAR,
    "about 40 minutes on two cores, half of them training the networks of the transfer study",
    "what an attacker with a surrogate leaves of Figure 4",
)
def laptop(data: str, seed: int, precision: Precision) -> ExtractionConfig:
    shared = _of_transfer(transfer.laptop.make(data, seed, precision))
    return ExtractionConfig(
        **shared,
        # Of so few images small batches make the most: the same time, four times the steps.
        surrogate=replace(shared["baseline"], batch_size=32, learning_rate=0.02),
        image_steps=100_000,
        tuned=replace(shared["baseline"], batch_size=64, learning_rate=0.01, schedule=OneCycle(warmup=0.1)),
        tuned_steps=60_000,
        # At least 400 that all get right.
        n_images=2000 if data == "cifar100" else 700,
        query_images=500 if data == "cifar100" else 150,
    )


@recipe(CIFAR, FOR_A_GPU, "the same at the paper's sizes")
def paper(data: str, seed: int, precision: Precision) -> ExtractionConfig:
    """What the paper does not try, on the networks of its Figure 4."""
    shared = _of_transfer(transfer.paper.make(data, seed, precision))
    return ExtractionConfig(
        **shared,
        queries=(1_000, 10_000, 50_000),
        surrogate=TrainingConfig(epochs=1, learning_rate=0.05, precision=precision),
        image_steps=2_000_000,
        tuned=TrainingConfig(epochs=1, learning_rate=0.01, schedule=OneCycle(warmup=0.1), precision=precision),
        tuned_steps=500_000,
        most_epochs=200,
        n_images=10_000,
        query_images=1_000,
        budget=5_000,
    )


RECIPES = (quick, laptop, paper)
