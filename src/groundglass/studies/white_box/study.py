"""The paper's Figure 2, and past it: one defended and one ordinary network under every white-box attacker."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

from groundglass.adaptive import RULES, check_rules
from groundglass.attacks import FGSM, PGD, CarliniWagnerL2, RandomNoise, paper_eps_to_pixels
from groundglass.data import Dataset
from groundglass.results import Record
from groundglass.results.kinds.attack import ATTACK, AttackConfig, AttackResult
from groundglass.studies.cells.attack import AttackCell
from groundglass.studies.cells.audit import audits
from groundglass.studies.cells.check import Check, Found, check_cells
from groundglass.studies.cells.network import NetworkCell
from groundglass.studies.cells.place import PlaceCell
from groundglass.studies.engine.cell import Cell, with_inputs
from groundglass.studies.recipe import CIFAR, FOR_A_GPU, QUICK_COST, QUICK_EXPECT, Recipe
from groundglass.studies.targets import (
    PAPER_STEP,
    QUICK_RADII,
    TargetsConfig,
    laptop_networks,
    paper_networks,
    quick_networks,
    targets,
)
from groundglass.training import Precision

# The attackers that tell most, from the paper's published code to exact U.
_TELLING = ("dfa-fresh", "fa", "bpda-drawn", "dfa", "bpda-fit-linear", "exact")
# The rules with a retrieved or a blurred U belong to the study of retrieval.
_DEFENDED_RULES = tuple(rule for rule in RULES if rule not in ("bp", "ste", "bpda-retrieved", "exact-blurred"))


@dataclass(frozen=True, kw_only=True)
class WhiteBoxConfig(TargetsConfig):
    """A white-box study, complete.

    Attributes:
        n_images: the first so many test images are attacked.
        eps_paper: L-inf radii on the paper's axis (units of the normalised images).
        eps_l2: L2 radii, pixel units.
        steps, step_size: of PGD; L-inf step in pixel units (the paper: 50 of .01 of [-1, 1]).
        rules: what the defended network is attacked with.
        fit_images: natural training images that a fitted surrogate has seen.
        cw_images: attacked with C&W L2; 0 leaves it out.
        gallery: images shown in the report, for each rule, at the middle radius.
    """

    n_images: int
    eps_paper: tuple[float, ...] = (0.01, 0.02, 0.03, 0.04, 0.05)
    eps_l2: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)
    steps: int = 50
    step_size: float = 0.005
    rules: tuple[str, ...] = _DEFENDED_RULES
    fit_images: int = 10_000
    cw_images: int = 0
    gallery: int = 6

    def __post_init__(self) -> None:
        check_rules(self.rules)
        if self.n_images < 1:
            raise ValueError(f"n_images (={self.n_images}) must be at least 1")
        if any(not 0 < e <= 2 for e in self.eps_paper):
            raise ValueError(f"eps_paper {self.eps_paper} must be in (0, 2]: units of the normalised images, as .05")


def cells(config: WhiteBoxConfig, dataset: Dataset) -> list[Cell]:
    """Every cell of the study, in an order in which inputs come first.

    A VGG-OPU in two stages has a control: the network that its features were trained in, which is all of it but the layer.
    """
    baseline, defended = targets(config, dataset)
    features = (defended.features,) if isinstance(defended, PlaceCell) else ()
    pairs: list[tuple[NetworkCell, str]] = [(baseline, "bp"), *((defended, rule) for rule in config.rules)]
    figure = _figure_cells(config, dataset, [pairs[0], *((one, "bp") for one in features), *pairs[1:]])
    control = _control_cells(config, dataset, pairs)
    audited = audits(config, dataset, (baseline, *features, defended))
    checks = check_cells(CHECKS, (*figure, *control))
    return with_inputs([*defended.inputs, baseline, defended, *audited, *figure, *control, *checks])


def _attack(config: WhiteBoxConfig, who: tuple[NetworkCell, str], attack: Any, **changes: Any) -> AttackCell:
    settings = {
        "norm": "linf",
        "eps_paper": None,
        "n_images": config.n_images,
        "fit_images": config.fit_images,
        "gallery": 0,
        "seed": config.seed,
        **changes,
    }
    return AttackCell(target=who[0], rule=who[1], attack=attack, **settings)


def _figure_cells(
    config: WhiteBoxConfig, dataset: Dataset, pairs: Sequence[tuple[NetworkCell, str]]
) -> list[AttackCell]:
    """Radius by radius: a study that is stopped half-way has whole curves of small radii for every rule."""
    found = []
    shown = config.eps_paper[len(config.eps_paper) // 2]
    for eps_paper in config.eps_paper:
        eps, gallery = paper_eps_to_pixels(eps_paper, dataset.std), config.gallery if eps_paper == shown else 0
        attack = PGD(steps=config.steps, step_size=config.step_size)
        found += [_attack(config, who, attack, eps=eps, eps_paper=eps_paper, gallery=gallery) for who in pairs]
    for eps in config.eps_l2:
        attack = PGD(steps=config.steps, step_size=None)
        found += [_attack(config, who, attack, norm="l2", eps=eps) for who in pairs]
    return found


def _control_cells(
    config: WhiteBoxConfig, dataset: Dataset, pairs: Sequence[tuple[NetworkCell, str]]
) -> list[AttackCell]:
    """Attacks that show whether the figure can be believed: noise, one step, no bound, and C&W's smallest distances."""
    largest, few = config.eps_paper[-1], min(config.n_images, 100)
    at: dict[str, Any] = {"eps": paper_eps_to_pixels(largest, dataset.std), "eps_paper": largest, "purpose": "control"}
    networks = dict.fromkeys(network for network, _ in pairs)
    found = [_attack(config, (network, "none"), RandomNoise(), **at) for network in networks]
    unbounded = PGD(steps=config.steps, step_size=0.05)
    for who in pairs:
        found.append(_attack(config, who, FGSM(), **at))
        found.append(_attack(config, who, unbounded, eps=1.0, n_images=few, purpose="control"))
    distances: dict[str, Any] = {"norm": "l2", "eps": 10.0, "n_images": config.cw_images, "purpose": "control"}
    told = [who for who in pairs if who[1] in ("bp", "dfa", "exact") and config.cw_images]
    return found + [_attack(config, who, CarliniWagnerL2(), **distances) for who in told]


# Two images of slack, or one point: differences of this size are chance.
_SLACK = 0.01


def _slack(result: AttackResult) -> float:
    return max(_SLACK, 2 / result.n_images)


class _Tried(NamedTuple):
    config: AttackConfig
    result: AttackResult

    @property
    def who(self) -> str:
        return f"{self.config.model} <- {self.config.rule}"

    @property
    def left(self) -> float:
        return self.result.robust_accuracy


def _tried(records: Sequence[Record], **chosen: str) -> list[_Tried]:
    found = [_Tried(ATTACK.config_of(r), ATTACK.result_of(r)) for r in records]
    return [one for one in found if all(getattr(one.config, name) == value for name, value in chosen.items())]


def _unbounded(records: Sequence[Record]) -> Found:
    found = [one for one in _tried(records, attack="PGD", purpose="control", norm="linf") if one.config.eps >= 1]
    left = {one.who: round(one.left, 4) for one in found}
    return Found(all(value <= 0.05 for value in left.values()), left)


def _rising(records: Sequence[Record]) -> dict[str, float]:
    rises: dict[str, float] = {}
    figure = _tried(records, attack="PGD", purpose="figure")
    for who, norm in sorted({(one.who, one.config.norm) for one in figure}):
        curve = sorted(
            (one for one in figure if (one.who, one.config.norm) == (who, norm)), key=lambda one: one.config.eps
        )
        for a, b in pairwise(curve):
            if b.left > a.left + _slack(a.result):
                rises[f"{who} {norm}"] = round(b.left - a.left, 4)
    return rises


def _weaker_than(attack: str, records: Sequence[Record]) -> dict[str, float]:
    """Every PGD of the figure that leaves more than the control `attack` at the same radius."""
    weaker: dict[str, float] = {}
    for control in _tried(records, attack=attack, norm="linf"):
        ball = {"model": control.config.model, "norm": "linf", "eps": control.config.eps}
        for one in _tried(records, attack="PGD", purpose="figure", n_images=control.config.n_images, **ball):  # type: ignore[arg-type]
            comparable = control.config.rule in ("none", one.config.rule)
            if comparable and one.left > control.left + _slack(one.result):
                weaker[one.who] = round(one.left - control.left, 4)
    return weaker


def _better_than_training_signal(records: Sequence[Record]) -> Found:
    # Backpropagation is the gradient of networks without the layer, and of none with it.
    figure = [one for one in _tried(records, attack="PGD", purpose="figure", norm="linf") if one.config.rule != "bp"]
    largest = max((one.config.eps for one in figure), default=0.0)
    at = {one.config.rule: one.left for one in figure if one.config.eps == largest}
    gap = at.get("dfa", 1.0) - min(at.values()) if at else 0.0
    return Found(gap <= 0.05, {rule: round(left, 4) for rule, left in sorted(at.items(), key=lambda item: item[1])})


def _zero_gradients(records: Sequence[Record]) -> dict[str, float]:
    found = [one for one in _tried(records) if one.config.rule != "none" and one.result.zero_gradient_share > 0.01]
    return {one.who: round(one.result.zero_gradient_share, 4) for one in found}


def _confirmed(records: Sequence[Record]) -> Found:
    found = [one.result for one in _tried(records)]
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


def paper(data: str, seed: int, precision: Precision) -> WhiteBoxConfig:
    """Figure 2 at the paper's sizes."""
    return WhiteBoxConfig(**paper_networks(data, seed, precision), n_images=10_000, fit_images=50_000, cw_images=1000)


def laptop(data: str, seed: int, precision: Precision) -> WhiteBoxConfig:
    """Figure 2 at a quarter of the width."""
    return replace(
        paper(data, seed, precision),
        **laptop_networks(data, seed, precision),
        n_images=1000,
        eps_l2=(0.25, 0.5, 1.0),
        fit_images=20_000,
        cw_images=64,
        step_size=PAPER_STEP[data],
    )


def full_width(data: str, seed: int, precision: Precision) -> WhiteBoxConfig:
    """The laptop recipe at the paper's width: trained alike, with the same seeds, so that what differs is the width."""
    return replace(
        laptop(data, seed, precision),
        width=1.0,
        audit_images=200,
        eps_paper=(0.01, 0.02, 0.05),
        eps_l2=(0.5,),
        cw_images=0,
        rules=_TELLING,
    )


def quick(data: str, seed: int, precision: Precision) -> WhiteBoxConfig:
    """Every attacker with gradients."""
    return replace(
        paper(data, seed, precision),
        **quick_networks(data, seed, precision),
        n_images=48,
        eps_paper=QUICK_RADII[1:],
        eps_l2=(0.5,),
        steps=20,
        step_size=0.002,
        fit_images=2000,
        cw_images=0,
        gallery=4,
    )


RECIPES = (
    Recipe("quick", quick, ("shapes",), QUICK_COST, QUICK_EXPECT),
    Recipe(
        "laptop",
        laptop,
        CIFAR,
        "15 minutes on two cores (AMD EPYC, Zen 4), bfloat16, an hour on Zen 1, float32; CIFAR-100 some 30 (Zen 4)",
        "Figure 2 at a quarter of the width",
    ),
    Recipe(
        "full-width",
        full_width,
        ("cifar10",),
        "2 hours on two cores (AMD EPYC, Zen 4), most of it training",
        "Figure 2 at the paper's width, with fewer radii",
        in_all=False,
    ),
    Recipe("paper", paper, CIFAR, FOR_A_GPU, "Figure 2 at the paper's sizes"),
)
