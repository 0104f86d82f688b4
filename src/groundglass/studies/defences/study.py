"""Defences side by side: each alone and with the layer, with the same images, the same attacks and the same certificates."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from groundglass.core import lookup
from groundglass.core.settings import Count, Positive, Tally
from groundglass.data import Dataset
from groundglass.models import ARCHITECTURES
from groundglass.models.architectures import ArchitectureName
from groundglass.results import Record
from groundglass.results.kinds import CERTIFY
from groundglass.studies import kit
from groundglass.studies.adversarial_training.study import AdversarialTrainingConfig, hardened, laptop_networks
from groundglass.studies.cells.certify import CertifyCell
from groundglass.studies.cells.check import Check, Found, check_cells, entries
from groundglass.studies.cells.network import NetworkCell, PlaceCell, TrainCell
from groundglass.studies.defences import credits
from groundglass.studies.defences.ensembles import ensembles
from groundglass.studies.engine.cell import Cell, with_inputs
from groundglass.studies.engine.repeats import repeated
from groundglass.studies.recipe import AS_GOOD, CIFAR, FOR_A_GPU, QUICK_COST, QUICK_EXPECT, SMALL, recipe
from groundglass.studies.workstation import hardened_networks
from groundglass.training import HARDENING, TRADES, AdversarialTraining, Precision, TrainingConfig

_VIT = TrainingConfig(epochs=8, optimiser="adam", learning_rate=3e-3, weight_decay=0.0)


@dataclass(frozen=True, kw_only=True)
class DefencesConfig(AdversarialTrainingConfig):
    """A study of defences, complete.

    Attributes:
        families: of defences, names of `FAMILIES`, in the order of the table.
        trades: inside the training of VGG-16 TRADES and VGG-OPU TRADES; epochs and rule as of adversarial training.
        hardening: of the new head of ROPUST and of its control, behind the frozen convolutions of VGG-16 AT.
        sigma: std of the noise that the smoothed networks are trained and certified with, pixel units.
        smoothed_epochs: of their trainings; None: as of the ordinary ones.
        repeats: of everything, each with a seed and a device of its own.
        once: families that are in the first repeat alone.
        ensemble_epochs: of the heads of ensembles, on frozen convolutions.
        radii_l2: L2, pixel units, at which the networks are audited, beside the L-inf `radii`; and certified.
        certify_images: the first so many test images are certified by networks that were trained with noise, which smoothing is
            for: by two of them, so a thousand certificates, or about as many.
        certify_fewer: so many by all other networks, which rarely give an image one class under noise; 0 leaves them out.
        certify_first, certify_draws: of an image, that choose its class, and that certify it.
        certify_radii: further radii at which certified accuracy is told.
        resnet_width, vit_width: of ResNet-18 and of the vision transformer, each alone and with the layer; None: as of VGG-16.
        resnet: how both ResNet-18s are trained; None: as VGG-16 and VGG-OPU.
        vit: how both transformers are trained, which momentum alone hardly trains.
        transfer_images: of the first so many test images, those that all networks of "credits" get right are attacked on VGG-16.
        transfer_radii: L-inf, pixel units, of these attacks.
    """

    families: tuple[str, ...] = (
        "ordinary",
        "adversarial",
        "trades",
        "smoothed",
        "ropust",
        "architectures",
        "credits",
        "ensembles",
    )
    trades: AdversarialTraining = field(default_factory=lambda: TRADES(eps=8 / 255))
    hardening: TrainingConfig = HARDENING
    sigma: Positive = 0.25
    smoothed_epochs: Count | None = None
    repeats: Count = 3
    once: tuple[str, ...] = ()
    radii_l2: tuple[Positive, ...] = (0.25,)
    certify_images: Count = 1000
    certify_fewer: Tally = 200
    certify_draws: Count = 1000
    certify_first: Count = 100
    certify_radii: tuple[Positive, ...] = (0.125, 0.375, 0.5)
    resnet_width: Positive | None = None
    vit_width: Positive | None = None
    resnet: TrainingConfig | None = None
    vit: TrainingConfig = _VIT
    transfer_images: Count = 2000
    transfer_radii: tuple[Positive, ...] = (2 / 255, 5.1 / 255)
    ensemble_epochs: Count = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in (*self.families, *self.once):
            lookup("family of defences", name, FAMILIES)


def cells(config: DefencesConfig, dataset: Dataset) -> list[Cell]:
    """Every cell of the study, in an order in which inputs come first."""
    again = replace(config, families=tuple(name for name in config.families if name not in config.once))
    first, others = _one_repeat(config, dataset), _one_repeat(again, dataset) if again.families else []
    found = [*first, *repeated(others, config.repeats)[len(others) :]]
    certified = [cell for cell in found if isinstance(cell, CertifyCell)]
    return with_inputs([*found, *(check_cells(CHECKS, certified) if certified else ()), *credits.checks(found)])


def _one_repeat(config: DefencesConfig, dataset: Dataset) -> list[Cell]:
    networks = defences(config, dataset)
    found: list[Cell] = [*networks]
    for audit in kit.audits(config, dataset, networks):
        found += [replace(audit, eps=radius, eps_paper=None) for radius in config.radii]
        found += [replace(audit, norm="l2", eps=radius, eps_paper=None) for radius in config.radii_l2]
    found += certificates(config, dataset)
    if "credits" in config.families:
        found += credits.transferred(config, dataset, config.transfer_images, config.transfer_radii)
    return found


def early(config: DefencesConfig, dataset: Dataset) -> tuple[NetworkCell, ...]:
    """The longest trainings of all, see `adversarial_training.study.early`."""
    return tuple(
        cell
        for name in ("adversarial", "trades")
        if name in config.families
        for cell in FAMILIES[name](config, dataset)
    )


def defences(config: DefencesConfig, dataset: Dataset) -> list[NetworkCell]:
    """The networks of the study."""
    return [network for name in config.families for network in FAMILIES[name](config, dataset)]


def certificates(config: DefencesConfig, dataset: Dataset) -> list[CertifyCell]:
    """Of the networks whose families are certified, by smoothing with the noise that the smoothed ones were trained with."""
    images = {name: config.certify_images if name == "smoothed" else config.certify_fewer for name in _CERTIFIED}
    return [
        CertifyCell(
            target=network,
            sigma=config.sigma,
            n0=config.certify_first,
            n=config.certify_draws,
            n_images=images[name],
            radii=(*config.radii_l2, *config.certify_radii),
            rule="dfa" if isinstance(network, TrainCell | PlaceCell) and network.device is not None else "bp",
            seed=config.seed,
        )
        for name in config.families
        if images.get(name)
        for network in FAMILIES[name](config, dataset)
    ]


def _ordinary(config: DefencesConfig, dataset: Dataset) -> Sequence[NetworkCell]:
    return kit.targets(config, dataset)


def _adversarial(config: DefencesConfig, dataset: Dataset) -> Sequence[NetworkCell]:
    return hardened(config, dataset)


def _trades(config: DefencesConfig, dataset: Dataset) -> Sequence[NetworkCell]:
    return hardened(replace(config, adversarial=config.trades), dataset, "TRADES")


def _smoothed(config: DefencesConfig, dataset: Dataset) -> Sequence[NetworkCell]:
    """Trained under the noise that they are smoothed with: a smoothed classifier is certified by forward passes alone.

    Whole, on any data: a classifier that is fitted alone, in a second stage, would see the bits of images without noise.
    """
    changes: dict[str, Any] = {"noise": config.sigma}
    if config.smoothed_epochs is not None:
        changes["epochs"] = config.smoothed_epochs
    noisy: dict[str, Any] = {name: replace(getattr(config, name), **changes) for name in ("baseline", "hybrid")}
    networks = kit.targets(replace(config, **noisy, classifier=None), dataset)
    return [kit.another(one, lambda name: f"{name} smoothed") for one in networks]


def _ropust(config: DefencesConfig, dataset: Dataset) -> Sequence[NetworkCell]:
    """A device put behind a robust network's features, and what is new fine-tuned on natural images (Cappelli et al. 2021); and
    the same without the device, to tell the layer from the fine-tuning."""
    robust = hardened(config, dataset)[0]
    fitted: dict[str, Any] = {"training": config.hardening}
    device = kit.device_cell(config)
    return (
        kit.placed_network(config, "ROPUST", robust, device, **fitted),
        kit.placed_network(config, "VGG-16 AT, new head", robust, None, encoding="float", **fitted),
    )


def _architectures(config: DefencesConfig, dataset: Dataset) -> Sequence[NetworkCell]:
    """Is the answer VGG's alone?"""
    return [
        *_other("resnet18", config.resnet_width, config.resnet, config, dataset),
        *_other("vit", config.vit_width, config.vit, config, dataset),
    ]


def _other(
    architecture: ArchitectureName,
    width: float | None,
    training: TrainingConfig | None,
    config: DefencesConfig,
    dataset: Dataset,
) -> Sequence[NetworkCell]:
    label = ARCHITECTURES[architecture].label
    changes: dict[str, Any] = {} if training is None else {"baseline": training, "hybrid": training}

    def named(ours: str) -> str:
        return label if ours == "VGG-16" else ours.replace("VGG", label)

    networks = kit.targets(replace(config, width=width or config.width, **changes), dataset)
    return [kit.another(one, named, architecture=architecture) for one in networks]


def _credits(config: DefencesConfig, dataset: Dataset) -> Sequence[NetworkCell]:
    """VGG-OPU by other teaching signals. What they are without the layer is audited beside them."""
    first, *others = credits.taught(config, dataset)
    return [first.without, *(one for pair in others for one in pair.both)]


def _ensembles(config: DefencesConfig, dataset: Dataset) -> Sequence[NetworkCell]:
    return ensembles(config, dataset, config.ensemble_epochs)


#: The cells of each family's networks, inputs of them aside. A family of your own is one more entry: docs/how-to/defences.md.
FAMILIES: dict[str, Callable[[DefencesConfig, Dataset], Sequence[NetworkCell]]] = {
    "ordinary": _ordinary,
    "adversarial": _adversarial,
    "trades": _trades,
    "smoothed": _smoothed,
    "ropust": _ropust,
    "architectures": _architectures,
    "credits": _credits,
    "ensembles": _ensembles,
}
_CERTIFIED: tuple[str, ...] = ("ordinary", "adversarial", "trades", "smoothed")


def _broken(records: Sequence[Record]) -> Found:
    """Not passed where certificates were made and none was attacked."""
    found = entries(records, CERTIFY)
    broken = {one.config.model: one.result.broken for one in found if one.result.attacked}
    attacked = sum(one.result.attacked for one in found)
    passed = not any(broken.values()) and (attacked > 0 or not found)
    return Found(passed, {**broken, "certificates attacked": attacked})


#: At least this share of the images, where there are a few, an attack breaks that would break a certificate which is not true.
_MANY, _FEW = 0.25, 10


def _strong(records: Sequence[Record]) -> Found:
    """Of each network where it is a few images, else of all together."""
    found = entries(records, CERTIFY)
    tried = {one.config.model: (one.result.outside, one.result.attacked) for one in found if one.result.attacked}
    together = sum(outside for outside, _ in tried.values()), sum(attacked for _, attacked in tried.values())
    judged = [counts for counts in tried.values() if counts[1] >= _FEW] or ([together] if tried else [])
    passed = bool(judged or not found) and all(outside >= _MANY * attacked for outside, attacked in judged)
    return Found(passed, {name: round(outside / attacked, 3) for name, (outside, attacked) in tried.items()})


#: Signs that a certificate is not true, or that the attacks would not show it.
CHECKS = (
    Check("no certificate is broken", "no attack within a certified radius finds another class", _broken),
    Check(
        "attacks on certificates break many outside",
        f"at the control's radius the same attack gives {_MANY:.0%} or more of each network's images another class; of all "
        f"together where none has {_FEW}",
        _strong,
    ),
)


@recipe(SMALL, QUICK_COST, QUICK_EXPECT)
def quick(data: str, seed: int, precision: Precision) -> DefencesConfig:
    """The networks of the other studies, and two that are trained with noise."""
    few: dict[str, Any] = {"radii": (), "smoothed_epochs": 2, "repeats": 1, "certify_fewer": 0}
    few |= {"certify_images": 16, "certify_draws": 100, "certify_first": 20}
    return DefencesConfig(**kit.quick_networks(data, seed, precision), families=("ordinary", "smoothed"), **few)


# With its own repeats, and on fewer images than other studies audit: a folder of its own, that `--reuse` gives their networks.
@recipe(
    CIFAR,
    "about 5.5 hours on two cores by estimate; CIFAR-100 5",
    "each defence alone and with the layer, three seeds; other architectures and teaching signals one",
    in_all=False,
)
def laptop(data: str, seed: int, precision: Precision) -> DefencesConfig:
    networks = {**laptop_networks(data, seed, precision), "audit_images": 200}
    # Over the repeats some thousand certificates are attacked.
    networks |= {"certify_images": 300, "certify_fewer": 100}
    # What takes about one and a half times as long as VGG-16 on CIFAR-10.
    others: dict[str, Any] = {
        "resnet": replace(networks["baseline"], epochs=6, learning_rate=0.05),
        "vit": replace(_VIT, precision=precision),
        "vit_width": 1 / 6,
        # Some of the signals teach slowly, and all of their networks must get an image right.
        "transfer_images": 5000,
        # Six hours would not do for more; `--set 'once=[]'` gives them three seeds in seven hours.
        "once": ("architectures", "credits"),
    }
    if data == "cifar100":
        # What is left out asks about other networks and signals, which CIFAR-10 answers.
        others["families"] = tuple(name for name in FAMILIES if name not in others["once"])
    return DefencesConfig(**networks, trades=TRADES(eps=8 / 255, steps=2), **others)


@recipe(
    CIFAR,
    "2.4 core-hours by estimate; CIFAR-100 7.8, most of them training",
    f"each defence alone and with the layer, {AS_GOOD}",
)
def workstation(data: str, seed: int, precision: Precision) -> DefencesConfig:
    """Once, and without other architectures, teaching signals and ensembles, which the laptop recipe has; of CIFAR-100, where it
    takes longest, also without TRADES."""
    families = ("ordinary", "adversarial", *(() if data == "cifar100" else ("trades",)), "smoothed", "ropust")
    few: dict[str, Any] = {"families": families, "repeats": 1, "smoothed_epochs": 15}
    few |= {"certify_images": 300, "certify_fewer": 100}
    return DefencesConfig(**hardened_networks(data, seed, precision), **few, trades=TRADES(eps=8 / 255, steps=2))


@recipe(CIFAR, FOR_A_GPU, "the same at the paper's sizes", in_all=False)
def paper(data: str, seed: int, precision: Precision) -> DefencesConfig:
    vit = replace(_VIT, epochs=100, learning_rate=1e-3, precision=precision)
    return DefencesConfig(**kit.paper_networks(data, seed, precision), vit=vit, ensemble_epochs=10)


RECIPES = (quick, laptop, workstation, paper)
