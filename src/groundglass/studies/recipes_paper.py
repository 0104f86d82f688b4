"""The paper's recipes: its widths, sizes, epochs and the whole test set, as its training scripts have them."""

from dataclasses import replace
from typing import Any

from groundglass.studies.ablation import AblationConfig
from groundglass.studies.adversarial_training import AdversarialTrainingConfig
from groundglass.studies.black_box import BlackBoxConfig
from groundglass.studies.recipes_laptop import SCALE_COSTS
from groundglass.studies.redraws import RedrawConfig
from groundglass.studies.retrieval import RetrievalConfig
from groundglass.studies.scale import ScaleConfig
from groundglass.studies.transfer import TransferConfig
from groundglass.studies.white_box import WhiteBoxConfig
from groundglass.training import PGDTraining, Plateau, Precision, TrainingConfig
from groundglass.training.schedule import Steps


def _hybrid(epochs: int, weight_decay: float, precision: Precision) -> TrainingConfig:
    return TrainingConfig(
        epochs=epochs, learning_rate=1e-3, weight_decay=weight_decay, schedule=Plateau(), precision=precision
    )


def _baseline(data: str, epochs: int, precision: Precision) -> TrainingConfig:
    if data == "cifar100":
        return TrainingConfig(
            epochs=110, learning_rate=1e-2, weight_decay=7e-4, schedule=Steps(at=(45, 60)), precision=precision
        )
    return TrainingConfig(
        epochs=epochs,
        optimiser="adam",
        learning_rate=1e-3,
        weight_decay=1e-4,
        schedule=Plateau(),
        precision=precision,
    )


def _targets(data: str, epochs: int, seed: int, precision: Precision) -> dict[str, Any]:
    shared = {
        "data": data,
        "width": 1.0,
        "baseline_dropout": 0.5,
        "hybrid_dropout": 0.5,
        "seed": seed,
        "audit_images": 1000,
    }
    sizes = {"baseline": _baseline(data, epochs, precision), "device_out": 8000}
    if data == "cifar100":
        stages = {"hybrid": _hybrid(125, 0.015, precision), "classifier": _hybrid(5, 0.01, precision)}
        return {**shared, **sizes, **stages, "device_in": 1024}
    return {**shared, **sizes, "hybrid": _hybrid(30, 0.01, precision), "device_in": 512}


def white_box(data: str, seed: int, precision: Precision) -> WhiteBoxConfig:
    """`groundglass run white-box --data cifar10 --recipe paper`: Figure 2."""
    return WhiteBoxConfig(**_targets(data, 38, seed, precision), n_images=10_000, fit_images=50_000, cw_images=1000)


def black_box(data: str, seed: int, precision: Precision) -> BlackBoxConfig:
    """`groundglass run black-box --data cifar10 --recipe paper`: Figure 3. CIFAR-100's network is trained whole here."""
    shared = {**_targets(data, 55, seed, precision), "device_in": 2000, "device_out": 10_000, "classifier": None}
    hybrid = _hybrid(80 if data == "cifar100" else 55, 0.005, precision)
    return BlackBoxConfig(**{**shared, "hybrid": hybrid}, n_images=10_000)


def transfer(data: str, seed: int, precision: Precision) -> TransferConfig:
    """`groundglass run transfer --data cifar10 --recipe paper`: Figure 4."""
    long = data == "cifar100"
    higher = _hybrid(125, 0.015, precision) if long else _hybrid(20, 0.035, precision)
    classifier = _hybrid(5, 0.01, precision)
    shared = {**_targets(data, 55, seed, precision), "device_in": 1024, "hybrid": higher, "classifier": classifier}
    return TransferConfig(
        **shared,
        lower=replace(higher, epochs=79 if long else 17),
        lower_classifier=replace(classifier, epochs=4 if long else 2),
        attacker=higher,
        n_images=10_000,
        fit_images=50_000,
    )


def redraw(data: str, seed: int, precision: Precision) -> RedrawConfig:
    """`groundglass run redraw --data cifar10 --recipe paper`."""
    return RedrawConfig(**_targets(data, 38, seed, precision), n_images=10_000, fit_images=50_000)


def retrieval(data: str, seed: int, precision: Precision) -> RetrievalConfig:
    """`groundglass run retrieval --data cifar10 --recipe paper`: what U costs, and what it is worth, at the paper's sizes."""
    return RetrievalConfig(
        **_targets(data, 38, seed, precision),
        n_images=1000,
        eps_paper=(0.01, 0.02, 0.03),
        fit_images=20_000,
        periods=(1, 2, 4, 6, 12, 24, 60),
        sizes=(256, 1024, 2048, 4096),
        sweep_in=1024,
    )


def ablation(data: str, seed: int, precision: Precision) -> AblationConfig:
    """`groundglass run ablation --data cifar10 --recipe paper`: N = 1024, M = 8000; its weight decays lie about .03."""
    shared = {**_targets(data, 38, seed, precision), "device_in": 1024}
    if data == "cifar10":
        shared["hybrid"] = _hybrid(20, 0.03, precision)
    return AblationConfig(
        **shared,
        n_images=10_000,
        inputs=(256, 4096),
        outputs=(1000, 32_000),
        fit_images=50_000,
        query_images=1000,
        budget=15_000,
    )


def adversarial_training(data: str, seed: int, precision: Precision) -> AdversarialTrainingConfig:
    """`groundglass run adversarial-training --data cifar10 --recipe paper`: the control that the paper leaves for later work."""
    return AdversarialTrainingConfig(**_targets(data, 38, seed, precision), adversarial=PGDTraining(eps=8 / 255))


def scale(data: str, seed: int, precision: Precision) -> ScaleConfig:
    """`groundglass run scale --data cifar10 --recipe paper`: the laptop's sizes and more, at the paper's width."""
    long = data == "cifar100"
    return ScaleConfig(
        **{**_targets(data, 38, seed, precision), "classifier": _hybrid(5, 0.01, precision)},
        costs=SCALE_COSTS,
        fixed_in=2**12,
        fixed_out=2**12,
        networks=((512, 8000), (2048, 8000), (8192, 8000), (512, 32_000), (512, 128_000), (8192, 128_000)),
        structured=((2048, 8000), (8192, 128_000)),
        n_images=10_000,
        eps_paper=(0.01, 0.02),
        steps=50,
        step_size=0.00276 if long else 0.005,
        fit_images=50_000,
    )
