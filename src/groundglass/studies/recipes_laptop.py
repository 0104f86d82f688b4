"""The laptop recipes: CIFAR at a quarter of the width, for two cores."""

from dataclasses import replace
from typing import Any

from groundglass.studies.ablation import AblationConfig
from groundglass.studies.adversarial_training import AdversarialTrainingConfig
from groundglass.studies.black_box import BlackBoxConfig
from groundglass.studies.everything import EverythingConfig
from groundglass.studies.redraws import RedrawConfig
from groundglass.studies.retrieval import RetrievalConfig
from groundglass.studies.scale import ScaleConfig
from groundglass.studies.scale_cost import CostGrid
from groundglass.studies.transfer import TransferConfig
from groundglass.studies.white_box import WhiteBoxConfig
from groundglass.training import PGDTraining, Precision, TrainingConfig
from groundglass.training.classifier import FINE_TUNING

# The attackers that tell most, from the paper's published code to exact U; fitting a network and the rest cost more.
_TOLD = ("dfa-fresh", "fa", "bpda-drawn", "dfa", "bpda-fit-linear", "exact")
# A normalised unit of CIFAR-100 is about half of CIFAR-10's in pixels, and so is the paper's step of .01 of them.
_STEP = {"cifar10": 0.005, "cifar100": 0.00276}


def _targets(data: str, seed: int, precision: Precision) -> dict[str, Any]:
    """CIFAR-10 is trained whole, as the paper's white-box networks are; CIFAR-100 in two stages, and half as long again."""
    if data == "cifar100":
        long = TrainingConfig(epochs=12, learning_rate=0.1, weight_decay=5e-4, precision=precision)
        return {
            "data": data,
            "width": 0.25,
            "device_in": 1024,
            "device_out": 8000,
            "baseline": long,
            "hybrid": replace(long, learning_rate=0.05),
            "classifier": FINE_TUNING,
            "seed": seed,
            "audit_images": 500,
        }
    training = TrainingConfig(epochs=8, learning_rate=0.05, weight_decay=5e-4, precision=precision)
    return {
        "data": data,
        "width": 0.25,
        "device_in": 512,
        "device_out": 8000,
        "baseline": training,
        "hybrid": training,
        "seed": seed,
        "audit_images": 500,
    }


def white_box(data: str, seed: int, precision: Precision) -> WhiteBoxConfig:
    """`groundglass run white-box --data cifar10 --recipe laptop`: Figure 2 at a quarter of the width."""
    return WhiteBoxConfig(
        **_targets(data, seed, precision),
        n_images=1000,
        eps_l2=(0.25, 0.5, 1.0),
        fit_images=20_000,
        cw_images=64,
        step_size=_STEP[data],
    )


def full_width(data: str, seed: int, precision: Precision) -> WhiteBoxConfig:
    """`groundglass run white-box --data cifar10 --recipe full-width`: the paper's width, on two cores.

    Trained as the laptop recipe's, with the same seeds: what differs between the two is the width.
    """
    return replace(
        white_box(data, seed, precision),
        width=1.0,
        audit_images=200,
        eps_paper=(0.01, 0.02, 0.05),
        eps_l2=(0.5,),
        cw_images=0,
        rules=_TOLD,
    )


def black_box(data: str, seed: int, precision: Precision) -> BlackBoxConfig:
    """`groundglass run black-box --data cifar10 --recipe laptop`: Figure 3 at a quarter of the width, with its budget.

    The networks are those of the white-box recipe: `--reuse` that run's folder to train nothing again.
    """
    # Of CIFAR-100 about half are right, and so attacked: at least 200 of either.
    return BlackBoxConfig(**_targets(data, seed, precision), n_images=400 if data == "cifar100" else 260)


def transfer(data: str, seed: int, precision: Precision) -> TransferConfig:
    """`groundglass run transfer --data cifar10 --recipe laptop`: Figure 4 at a quarter of the width, and stronger attacks."""
    shared = {**_targets(data, seed, precision), "device_in": 1024, "classifier": FINE_TUNING}
    long = data == "cifar100"
    return TransferConfig(
        **shared,
        lower=replace(shared["hybrid"], epochs=6 if long else 3),
        lower_classifier=replace(FINE_TUNING, epochs=4 if long else 2),
        # As short as the network that it is the control of.
        baseline_lower=replace(shared["baseline"], epochs=6 if long else 3),
        attacker=shared["hybrid"],
        # At least 1,000 that all nine networks get right.
        n_images=5000 if long else 1700,
    )


def redraw(data: str, seed: int, precision: Precision) -> RedrawConfig:
    """`groundglass run redraw --data cifar10 --recipe laptop`: three redraws, and what they undo."""
    return RedrawConfig(**_targets(data, seed, precision), n_images=1000)


def retrieval(data: str, seed: int, precision: Precision) -> RetrievalConfig:
    """`groundglass run retrieval --data cifar10 --recipe laptop`: what U costs, and what it is worth."""
    return RetrievalConfig(
        **_targets(data, seed, precision),
        n_images=256,
        eps_paper=(0.01, 0.02),
        step_size=_STEP[data],
        fit_images=20_000,
        periods=(1, 1.5, 2, 3, 5, 10, 20),
    )


def ablation(data: str, seed: int, precision: Precision) -> AblationConfig:
    """`groundglass run ablation --data cifar10 --recipe laptop`: the defence in parts, at a quarter of the width.

    VGG-16s and the features of DFA are the transfer recipe's.
    """
    shared = {**_targets(data, seed, precision), "device_in": 1024, "classifier": FINE_TUNING}
    return AblationConfig(
        **shared,
        features="VGG-DFA",
        n_images=500,
        inputs=(64, 512),
        outputs=(500, 2000),
        query_images=100,
    )


def adversarial_training(data: str, seed: int, precision: Precision) -> AdversarialTrainingConfig:
    """`groundglass run adversarial-training --data cifar10 --recipe laptop`: the layer beside the control."""
    return AdversarialTrainingConfig(
        **_targets(data, seed, precision), adversarial=PGDTraining(eps=8 / 255, steps=3), epochs=6
    )


#: Costs up to a million by a million: dense up to 2 GiB, procedural in blocks of outputs past 2^30 entries.
SCALE_COSTS = (
    CostGrid(
        "dense",
        square=(2**10, 2**12, 2**14, 2**15),
        outputs=(2**12, 2**14, 2**16, 2**18),
        inputs=(2**12, 2**14, 2**16),
    ),
    CostGrid(
        "procedural",
        square=(2**10, 2**12, 2**14, 2**16, 2**18, 2**20),
        outputs=(2**12, 2**14, 2**16, 2**18),
        inputs=(2**12, 2**14, 2**16),
        whole=2**30,
    ),
    CostGrid(
        "structured",
        square=(2**10, 2**12, 2**14, 2**16, 2**18, 2**20),
        outputs=(2**12, 2**14, 2**16, 2**18, 2**20),
        inputs=(2**12, 2**14, 2**16, 2**18, 2**20),
    ),
)


def scale(data: str, seed: int, precision: Precision) -> ScaleConfig:
    """`groundglass run scale --data cifar10 --recipe laptop`: N and M past the paper's 2000 and 8000, one at a time.

    At N = 8192 features do not train at this learning rate: a linear readout of so many is too steep for it. Retrieval
    alone goes further. VGG-16 is the white-box recipe's and the features of N = 1024 the transfer recipe's: `--reuse`
    those runs' folders to train them no more.
    """
    return ScaleConfig(
        **_targets(data, seed, precision),
        costs=SCALE_COSTS,
        fixed_in=2**12,
        fixed_out=2**12,
        networks=((1024, 8000), (2048, 8000), (1024, 32_000)),
        structured=((2048, 8000),),
        shared_in=1024,
        retrieved=(4096, 8192, 16_384),
        n_images=256,
        step_size=_STEP[data],
        fit_images=20_000,
    )


def everything(data: str, seed: int, precision: Precision) -> EverythingConfig:
    """`groundglass run all --data cifar10 --recipe laptop`: all studies, on one page."""
    return EverythingConfig(
        **_targets(data, seed, precision),
        white_box=white_box(data, seed, precision),
        black_box=black_box(data, seed, precision),
        transfer=transfer(data, seed, precision),
        redraw=redraw(data, seed, precision),
        retrieval=retrieval(data, seed, precision),
        ablation=ablation(data, seed, precision),
        scale=scale(data, seed, precision),
        adversarial_training=adversarial_training(data, seed, precision),
    )
