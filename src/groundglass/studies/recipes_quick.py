"""The quick recipes: every part of every study, small, on images that the package makes itself."""

from dataclasses import replace
from typing import Any

from groundglass.audit import AuditConfig
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

# Where most of this data set's curve lies: 0.5, 1, 2 and 4 / 255, on the paper's axis.
_RADII = tuple(2 * level / 255 for level in (0.5, 1, 2, 4))


def _targets(data: str, seed: int, precision: Precision) -> dict[str, Any]:
    training = TrainingConfig(epochs=4, learning_rate=0.1, precision=precision)
    return {
        "data": data,
        "width": 0.125,
        "device_in": 256,
        "device_out": 1000,
        "baseline": training,
        "hybrid": training,
        "seed": seed,
        "audit_images": 48,
        "audit": AuditConfig(steps=20, queries=60, query_images=8, probes=12, fit_images=2000, samples=4),
    }


def white_box(data: str, seed: int, precision: Precision) -> WhiteBoxConfig:
    """`groundglass run white-box --recipe quick`: every attacker with gradients.

    Too small to say anything about the defence: it shows the machinery.
    """
    return WhiteBoxConfig(
        **_targets(data, seed, precision),
        n_images=48,
        eps_paper=_RADII[1:],
        eps_l2=(0.5,),
        steps=20,
        step_size=0.002,
        fit_images=2000,
        gallery=4,
    )


def black_box(data: str, seed: int, precision: Precision) -> BlackBoxConfig:
    """`groundglass run black-box --recipe quick`: every attack by queries, with a budget of minutes."""
    return BlackBoxConfig(
        **_targets(data, seed, precision),
        n_images=16,
        eps=2 / 255,
        budget=250,
        sigmas=(0.1, 1.0),
        reference_steps=20,
    )


def transfer(data: str, seed: int, precision: Precision) -> TransferConfig:
    """`groundglass run transfer --recipe quick`: three networks attacked from a fourth."""
    shared = _targets(data, seed, precision)
    return TransferConfig(
        **shared,
        lower=replace(shared["hybrid"], epochs=3),
        lower_classifier=replace(FINE_TUNING, epochs=2),
        n_images=200,
        eps_paper=_RADII,
        stronger_eps_paper=_RADII[-1:],
        steps=20,
        step_paper=0.004,
        stronger_steps=20,
        fit_images=2000,
    )


def redraw(data: str, seed: int, precision: Precision) -> RedrawConfig:
    """`groundglass run redraw --recipe quick`: two redraws of the white-box study's network."""
    return RedrawConfig(
        **_targets(data, seed, precision),
        redraws=2,
        moving=(2,),
        read_noises=(),
        n_images=100,
        eps=4 / 255,
        steps=20,
        budget=150,
        fit_images=2000,
    )


def retrieval(data: str, seed: int, precision: Precision) -> RetrievalConfig:
    """`groundglass run retrieval --recipe quick`: the white-box study's device read out, and what that is worth."""
    return RetrievalConfig(
        **_targets(data, seed, precision),
        n_images=64,
        eps_paper=_RADII[1:2],
        steps=20,
        step_size=0.002,
        fit_images=2000,
        queries=(6, 12),
        blurs=(0.6, 1.25),
        periods=(0.5, 1.5),
        sizes=(128,),
        noises=(2.0,),
        bits=(4,),
        saturations=(0.1,),
        sweep_in=128,
        sweep_rows=64,
    )


def ablation(data: str, seed: int, precision: Precision) -> AblationConfig:
    """`groundglass run ablation --recipe quick`: the four networks of the paper's code, and variants of one."""
    shared = _targets(data, seed, precision)
    short = replace(shared["hybrid"], epochs=3)
    return AblationConfig(
        **{**shared, "baseline": short, "hybrid": short, "device_in": 128, "device_out": 500},
        n_images=100,
        inputs=(32,),
        outputs=(100,),
        eps_paper=_RADII,
        steps=10,
        fit_images=2000,
        query_images=24,
        query_eps=4 / 255,
        budget=200,
    )


def adversarial_training(data: str, seed: int, precision: Precision) -> AdversarialTrainingConfig:
    """`groundglass run adversarial-training --recipe quick`: two networks more, trained on their own adversarial images."""
    return AdversarialTrainingConfig(
        **_targets(data, seed, precision), adversarial=PGDTraining(eps=1 / 255, steps=2), radii=(1 / 255,)
    )


def scale(data: str, seed: int, precision: Precision) -> ScaleConfig:
    """`groundglass run scale --recipe quick`: devices up to 2^14, three small networks, 32 rows of each U."""
    shared = _targets(data, seed, precision)
    short = replace(shared["hybrid"], epochs=3)
    return ScaleConfig(
        **{**shared, "baseline": short, "hybrid": short, "audit_images": 24},
        costs=(
            CostGrid("dense", square=(2**8, 2**10, 2**12)),
            CostGrid("procedural", square=(2**10, 2**14), whole=2**24),
            CostGrid("structured", square=(2**10, 2**12, 2**14)),
        ),
        fixed_in=2**10,
        fixed_out=2**10,
        block=128,
        laws=(256, 512),
        padded=(200, 600),
        redraws=8,
        networks=((64, 500), (256, 500), (64, 2000)),
        structured=((256, 500),),
        n_images=64,
        eps_paper=_RADII[1:2],
        steps=10,
        fit_images=2000,
        rows=32,
    )


def everything(data: str, seed: int, precision: Precision) -> EverythingConfig:
    """`groundglass run all --recipe quick`, which is `make quick`: the studies of one set of networks."""
    return EverythingConfig(
        **_targets(data, seed, precision),
        white_box=white_box(data, seed, precision),
        black_box=black_box(data, seed, precision),
        transfer=transfer(data, seed, precision),
        redraw=redraw(data, seed, precision),
        retrieval=retrieval(data, seed, precision),
    )
