"""The paper's Figure 2, and past it: one defended and one ordinary network under every white-box attacker."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from groundglass.adaptive import RULES, check_rules
from groundglass.attacks import FGSM, PGD, CarliniWagnerL2, RandomNoise, paper_eps_to_pixels
from groundglass.data import Dataset
from groundglass.studies.attack_cells import AttackCell
from groundglass.studies.audited import audits
from groundglass.studies.cells import Cell, with_inputs
from groundglass.studies.checks import WHITE_BOX_CHECKS, CheckCell
from groundglass.studies.networks import NetworkCell
from groundglass.studies.placed import PlaceCell
from groundglass.studies.targets import TargetsConfig, targets

# Those of the study of retrieval are its own.
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
    pairs = [(baseline, "bp"), *((one, "bp") for one in features), *((defended, rule) for rule in config.rules)]
    figure = _figure_cells(config, dataset, pairs)
    control = _control_cells(config, dataset, baseline, defended)
    checks = [CheckCell(check=name, attacks=(*figure, *control)) for name in WHITE_BOX_CHECKS]
    return with_inputs(
        [
            *defended.inputs,
            baseline,
            defended,
            *audits(config, dataset, (baseline, *features, defended)),
            *figure,
            *control,
            *checks,
        ]
    )


def _attack(config: WhiteBoxConfig, target: NetworkCell, rule: str, attack: Any, **changes: Any) -> AttackCell:
    settings: dict[str, Any] = {
        "norm": "linf",
        "eps_paper": None,
        "n_images": config.n_images,
        "fit_images": config.fit_images,
        "gallery": 0,
        "seed": config.seed,
        **changes,
    }
    return AttackCell(target=target, rule=rule, attack=attack, **settings)


def _pairs(config: WhiteBoxConfig, baseline: NetworkCell, defended: NetworkCell) -> list[tuple[NetworkCell, str]]:
    return [(baseline, "bp"), *((defended, rule) for rule in config.rules)]


def _figure_cells(
    config: WhiteBoxConfig, dataset: Dataset, pairs: Sequence[tuple[NetworkCell, str]]
) -> list[AttackCell]:
    """Strength first by radius: a study that is stopped half-way has whole curves of small radii for every rule."""
    found = []
    shown = config.eps_paper[len(config.eps_paper) // 2]
    for eps_paper in config.eps_paper:
        eps = paper_eps_to_pixels(eps_paper, dataset.std)
        attack = PGD(steps=config.steps, step_size=config.step_size)
        for target, rule in pairs:
            gallery = config.gallery if eps_paper == shown else 0
            found.append(_attack(config, target, rule, attack, eps=eps, eps_paper=eps_paper, gallery=gallery))
    for eps in config.eps_l2:
        attack = PGD(steps=config.steps, step_size=None)
        found += [_attack(config, target, rule, attack, norm="l2", eps=eps) for target, rule in pairs]
    return found


def _control_cells(
    config: WhiteBoxConfig, dataset: Dataset, baseline: NetworkCell, defended: NetworkCell
) -> list[AttackCell]:
    """Attacks that show whether the figure can be believed: noise, one step, no bound, and C&W's smallest distances."""
    largest = config.eps_paper[-1]
    at: dict[str, Any] = {
        "eps": paper_eps_to_pixels(largest, dataset.std),
        "eps_paper": largest,
        "purpose": "control",
    }
    few = min(config.n_images, 100)
    found = [_attack(config, target, "none", RandomNoise(), **at) for target in (baseline, defended)]
    unbounded = PGD(steps=config.steps, step_size=0.05)
    for target, rule in _pairs(config, baseline, defended):
        found.append(_attack(config, target, rule, FGSM(), **at))
        found.append(_attack(config, target, rule, unbounded, eps=1.0, n_images=few, purpose="control"))
    if config.cw_images:
        found += [
            _attack(
                config,
                t,
                r,
                CarliniWagnerL2(),
                norm="l2",
                eps=10.0,
                n_images=config.cw_images,
                purpose="control",
            )
            for t, r in _pairs(config, baseline, defended)
            if r in ("bp", "dfa", "exact")
        ]
    return found
