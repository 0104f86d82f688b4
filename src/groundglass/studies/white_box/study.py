"""The paper's Figure 2, and past it: one defended and one ordinary network under every white-box attacker, rung by rung."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

from groundglass.adaptive import RULES
from groundglass.attacks import FGSM, PGD, CarliniWagnerL2, RandomNoise
from groundglass.core.settings import Count, Positive, Tally
from groundglass.data import Dataset
from groundglass.results import Record
from groundglass.results.kinds import ATTACK, Entry
from groundglass.results.kinds.attack import AttackConfig, AttackResult
from groundglass.studies import kit
from groundglass.studies.cells.attack import AttackCell
from groundglass.studies.cells.check import Check, Found, check_cells, entries
from groundglass.studies.cells.network import NetworkCell, PlaceCell
from groundglass.studies.engine.cell import Cell, with_inputs
from groundglass.studies.recipe import AS_GOOD, CIFAR, FOR_A_GPU, QUICK_COST, QUICK_EXPECT, SMALL, recipe
from groundglass.studies.white_box.rungs import LadderConfig, ladder_cells
from groundglass.studies.workstation import networks
from groundglass.training import Precision

# The attackers that tell most, from the paper's published code to exact U.
_TELLING = ("dfa-fresh", "fa", "bpda-drawn", "dfa", "bpda-fit-linear", "exact")
# The rules with a retrieved or a blurred U belong to the study of retrieval.
_ELSEWHERE = ("bp", "ste", "bpda-retrieved", "exact-blurred", "own-head", "bit-flip")
_DEFENDED_RULES = tuple(rule for rule in RULES if rule not in _ELSEWHERE)


@dataclass(frozen=True, kw_only=True)
class WhiteBoxConfig(kit.TargetsConfig):
    """A white-box study, complete.

    Attributes:
        eps_l2: L2 radii, pixel units.
        attack: at the L-inf radii; at those of L2 with steps of 2.5 times radius / steps.
        cw_images: attacked with C&W L2; 0 leaves it out.
        gallery: images shown in the report, for each rule, at the radius that is nearest to `gallery_eps_paper`.
        ladder: the rungs of the access ladder that `rules` do not stand on; None leaves them out.

    Raises:
        ValueError: a radius, a rule or a number of images of the ladder that the figure does not have.
    """

    n_images: Count
    eps_paper: tuple[kit.PaperRadius, ...] = (0.01, 0.02, 0.03, 0.04, 0.05)
    eps_l2: tuple[Positive, ...] = (0.25, 0.5, 0.75, 1.0)
    attack: PGD = PGD(step_size=0.005)
    rules: tuple[str, ...] = _DEFENDED_RULES
    fit_images: Tally = 10_000
    cw_images: Tally = 0
    gallery: Tally = 6
    gallery_eps_paper: kit.PaperRadius = 0.03
    ladder: LadderConfig | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.eps_paper:
            raise ValueError("`eps_paper` is empty: give one radius at least")
        if self.ladder is None:
            return
        if extra := sorted(set(self.ladder.eps_paper) - set(self.eps_paper)):
            raise ValueError(
                f"`ladder.eps_paper` has {extra}, which `eps_paper` does not have: give it some of {list(self.eps_paper)}"
            )
        if extra_rules := sorted(set(self.ladder.draw_rules) - set(self.rules)):
            raise ValueError(
                f"`ladder.draw_rules` has {extra_rules}, which `rules` does not have: give it some of {list(self.rules)}"
            )
        if self.ladder.n_images > self.n_images:
            raise ValueError(
                f"`ladder.n_images` (={self.ladder.n_images}) must be at most `n_images` (={self.n_images}): give it, too"
            )


def cells(config: WhiteBoxConfig, dataset: Dataset) -> list[Cell]:
    """Every cell of the study, in an order in which inputs come first.

    A VGG-OPU in two stages has a control: the network that its features were trained in, which is all of it but the layer.
    """
    baseline, defended = kit.targets(config, dataset)
    features = (defended.features,) if isinstance(defended, PlaceCell) else ()
    pairs: list[tuple[NetworkCell, str]] = [(baseline, "bp"), *((defended, rule) for rule in config.rules)]
    figure = _figure_cells(config, dataset, [pairs[0], *((one, "bp") for one in features), *pairs[1:]])
    control = _control_cells(config, dataset, pairs)
    audited = kit.audits(config, dataset, (baseline, *features, defended))
    ladder = ladder_cells(config, dataset, defended, figure) if config.ladder else []
    tried = [cell for cell in ladder if isinstance(cell, AttackCell)]
    checks = check_cells(CHECKS, (*figure, *control, *tried))
    return with_inputs([*defended.inputs, baseline, defended, *audited, *figure, *control, *ladder, *checks])


def _figure_cells(
    config: WhiteBoxConfig, dataset: Dataset, pairs: Sequence[tuple[NetworkCell, str]]
) -> list[AttackCell]:
    """Radius by radius: a study that is stopped half-way has whole curves of small radii for every rule."""
    found = []
    shown = min(config.eps_paper, key=lambda eps_paper: abs(eps_paper - config.gallery_eps_paper), default=None)
    for ball in kit.on_paper_axis(dataset, *config.eps_paper):
        gallery = config.gallery if ball["eps_paper"] == shown else 0
        found += [kit.attack_cell(config, *who, config.attack, **ball, gallery=gallery) for who in pairs]
    attack = replace(config.attack, step_size=None)
    for eps in config.eps_l2:
        found += [kit.attack_cell(config, *who, attack, norm="l2", eps=eps) for who in pairs]
    return found


def _control_cells(
    config: WhiteBoxConfig, dataset: Dataset, pairs: Sequence[tuple[NetworkCell, str]]
) -> list[AttackCell]:
    """Attacks that show whether the figure can be believed: noise, one step, no bound, and C&W's smallest distances."""
    few = min(config.n_images, 100)
    (largest,) = kit.on_paper_axis(dataset, max(config.eps_paper))
    at: dict[str, Any] = {**largest, "purpose": "control"}
    networks = dict.fromkeys(network for network, _ in pairs)
    found = [kit.attack_cell(config, network, "none", RandomNoise(), **at) for network in networks]
    unbounded = replace(config.attack, step_size=0.05)
    for who in pairs:
        found.append(kit.attack_cell(config, *who, FGSM(), **at))
        found.append(kit.attack_cell(config, *who, unbounded, eps=1.0, n_images=few, purpose="control"))
    distances: dict[str, Any] = {"norm": "l2", "eps": 10.0, "n_images": config.cw_images, "purpose": "control"}
    told = [who for who in pairs if who[1] in ("bp", "dfa", "exact") and config.cw_images]
    return found + [kit.attack_cell(config, *who, CarliniWagnerL2(), **distances) for who in told]


# Two images of slack, or one point: differences of this size are chance.
_SLACK = 0.01


def _slack(result: AttackResult) -> float:
    return max(_SLACK, 2 / result.n_images)


_Tried = Entry[AttackConfig, AttackResult]


def _who(one: _Tried) -> str:
    return f"{one.config.model} <- {one.config.rule}"


def _left(one: _Tried) -> float:
    return one.result.robust_accuracy


def _unbounded(records: Sequence[Record]) -> Found:
    found = entries(records, ATTACK, attack="PGD", purpose="control", norm="linf")
    left = {_who(one): round(_left(one), 4) for one in found if one.config.eps >= 1}
    return Found(all(value <= 0.05 for value in left.values()), left)


def _rising(records: Sequence[Record]) -> dict[str, float]:
    rises: dict[str, float] = {}
    figure = entries(records, ATTACK, attack="PGD", purpose="figure")
    for who, norm in sorted({(_who(one), one.config.norm) for one in figure}):
        curve = [one for one in figure if (_who(one), one.config.norm) == (who, norm)]
        for a, b in pairwise(sorted(curve, key=lambda one: one.config.eps)):
            if _left(b) > _left(a) + _slack(a.result):
                rises[f"{who} {norm}"] = round(_left(b) - _left(a), 4)
    return rises


def _weaker_than(attack: str, records: Sequence[Record]) -> dict[str, float]:
    """Every PGD of the figure that leaves more than the control `attack` at the same radius."""
    weaker: dict[str, float] = {}
    for control in entries(records, ATTACK, attack=attack, norm="linf"):
        same = {name: getattr(control.config, name) for name in ("model", "norm", "eps", "n_images")}
        for one in entries(records, ATTACK, attack="PGD", purpose="figure", **same):
            comparable = control.config.rule in ("none", one.config.rule)
            if comparable and _left(one) > _left(control) + _slack(one.result):
                weaker[_who(one)] = round(_left(one) - _left(control), 4)
    return weaker


def _better_than_training_signal(records: Sequence[Record]) -> Found:
    # Backpropagation is the gradient of networks without the layer, and of none with it.
    figure = entries(records, ATTACK, attack="PGD", purpose="figure", norm="linf")
    figure = [one for one in figure if one.config.rule != "bp"]
    largest = max((one.config.eps for one in figure), default=0.0)
    at = {one.config.rule: _left(one) for one in figure if one.config.eps == largest}
    gap = at.get("dfa", 1.0) - min(at.values()) if at else 0.0
    return Found(gap <= 0.05, {rule: round(left, 4) for rule, left in sorted(at.items(), key=lambda item: item[1])})


def _zero_gradients(records: Sequence[Record]) -> dict[str, float]:
    zero = {_who(one): one.result.zero_gradient_share for one in entries(records, ATTACK) if one.config.rule != "none"}
    return {who: round(share, 4) for who, share in zero.items() if share > 0.01}


def _confirmed(records: Sequence[Record]) -> Found:
    found = [one.result for one in entries(records, ATTACK)]
    withdrawn = sum(one.unconfirmed for one in found)
    claims = withdrawn + sum(one.clean_correct - one.correct for one in found)
    return Found(withdrawn <= 0.01 * claims, {"claims": claims, "withdrawn": withdrawn})


#: Signs of a robustness claim that is not true (Athalye et al. 2018; Carlini et al. 2019).
CHECKS = (
    Check("unbounded ball", "at most 5% right when any image in [0, 1] is allowed", _unbounded),
    Check("accuracy never rises with eps", "a larger ball leaves no more images right", _rising),
    Check("PGD at least as strong as FGSM", "many steps do what one step does", partial(_weaker_than, "FGSM")),
    Check("stronger than random noise", "a gradient beats guessing", partial(_weaker_than, "RandomNoise")),
    Check(
        "no better attacker than the training feedback",
        "no attacker leaves over 5 points less than the training feedback does",
        _better_than_training_signal,
    ),
    Check("gradients are not zero", "at most 1% of input gradients are all zero", _zero_gradients),
    Check(
        "successes confirmed",
        "at least 99% of the adversarial images fool a fresh forward pass of the network itself",
        _confirmed,
    ),
)


@recipe(SMALL, QUICK_COST, QUICK_EXPECT)
def quick(data: str, seed: int, precision: Precision) -> WhiteBoxConfig:
    """Every attacker with gradients."""
    return WhiteBoxConfig(
        **kit.quick_networks(data, seed, precision),
        n_images=48,
        eps_paper=kit.QUICK_RADII[1:],
        eps_l2=(0.5,),
        attack=PGD(steps=20, step_size=0.002),
        fit_images=2000,
        gallery=4,
        gallery_eps_paper=kit.QUICK_RADII[2],
        ladder=LadderConfig(
            eps_paper=kit.QUICK_RADII[1:3],
            n_images=16,
            queries=40,
            draws=3,
            draw_rules=("dfa-fresh",),
            labels=500,
            other_labels=(100,),
        ),
    )


@recipe(
    CIFAR,
    "15 minutes on two cores (AMD EPYC, Zen 4), bfloat16, an hour on Zen 1, float32; CIFAR-100 some 30 (Zen 4)",
    "Figure 2 at a quarter of the width",
)
def laptop(data: str, seed: int, precision: Precision) -> WhiteBoxConfig:
    return WhiteBoxConfig(
        **kit.laptop_networks(data, seed, precision),
        n_images=1000,
        eps_l2=(0.25, 0.5, 1.0),
        fit_images=20_000,
        cw_images=64,
        attack=PGD(step_size=kit.PAPER_STEP[data]),
        ladder=LadderConfig(),
    )


@recipe(CIFAR, "0.8 core-hours by estimate; CIFAR-100 4.1, most of them training", f"Figure 2, {AS_GOOD}")
def workstation(data: str, seed: int, precision: Precision) -> WhiteBoxConfig:
    return WhiteBoxConfig(
        **networks(data, seed, precision),
        n_images=1000,
        eps_l2=(0.5,),
        fit_images=20_000,
        attack=PGD(step_size=kit.PAPER_STEP[data]),
        ladder=LadderConfig(),
    )


@recipe(
    ("cifar10",),
    "2 hours on two cores (AMD EPYC, Zen 4), most of it training",
    "Figure 2 at the paper's width, with fewer radii",
    in_all=False,
)
def full_width(data: str, seed: int, precision: Precision) -> WhiteBoxConfig:
    """The laptop recipe at the paper's width: trained alike, with the same seeds, so that what differs is the width."""
    changes = {"audit_images": 200, "eps_paper": (0.01, 0.02, 0.05), "eps_l2": (0.5,), "cw_images": 0, "ladder": None}
    return replace(laptop(data, seed, precision), width=1.0, rules=_TELLING, **changes)


@recipe(CIFAR, FOR_A_GPU, "Figure 2 at the paper's sizes")
def paper(data: str, seed: int, precision: Precision) -> WhiteBoxConfig:
    return WhiteBoxConfig(
        **kit.paper_networks(data, seed, precision),
        n_images=10_000,
        fit_images=50_000,
        cw_images=1000,
        attack=PGD(step_size=kit.PAPER_STEP[data]),
        ladder=LadderConfig(n_images=1000, queries=5000),
    )


RECIPES = (quick, laptop, workstation, full_width, paper)
