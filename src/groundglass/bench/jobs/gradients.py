"""PGD-20 on a quarter VGG-16: every step, or until each image is fooled; on the copy for attacks, or on any plain network, there
also climbing in bfloat16."""

from functools import partial
from typing import Any

from groundglass.attacks import PGD, AttackResult, GradientAccess, Linf, LowPrecisionAccess, frozen_for_attack
from groundglass.bench import floors, peers
from groundglass.bench.job import Bench, Contest, Job, Part
from groundglass.bench.subjects import attacked

_EPS, _STEP = 8 / 255, 2 / 255


def _pgd(bench: Bench, *, copy: bool, stopping: bool, access: type[GradientAccess] = GradientAccess) -> Contest:
    sizes = bench.sizes
    subject = attacked(bench, sizes.images)
    images, labels = subject.images, subject.labels
    model = frozen_for_attack(subject.network, images) if copy else subject.network
    attack = PGD(steps=sizes.steps, step_size=_STEP, stop_when_fooled=stopping, keep="best" if stopping else "last")

    def floor(found: AttackResult) -> dict[str, Part]:
        some = images[: sizes.batch]
        times = int(found.gradients.sum()) / len(some)
        return floors.convolutions(subject.network, some, "forward", "images", times=times)

    return Contest(
        work=lambda: attack(access(model), images, labels, Linf(_EPS), seed=bench.seed, batch_size=sizes.batch),
        floors=floor,
        peers=peers.pgd(subject, eps=_EPS, step=_STEP, steps=sizes.steps, batch=sizes.batch),
    )


def _job(name: str, how: str, **options: Any) -> Job:
    return Job(
        name,
        f"PGD-{{steps}}, {how}, {{images}} images, VGG-16 of width {{width:g}}",
        "its gradients, convolutions alone",
        partial(_pgd, **options),
    )


JOBS = (
    _job("pgd-all", "all steps, on the copy for attacks", copy=True, stopping=False),
    _job("pgd-stopping", "until fooled, on the copy for attacks", copy=True, stopping=True),
    _job("pgd-all-plain", "all steps, on the network itself", copy=False, stopping=False),
    _job("pgd-stopping-plain", "until fooled, on the network itself", copy=False, stopping=True),
    _job(
        "pgd-all-low",
        "all steps in bfloat16, on the network itself",
        copy=False,
        stopping=False,
        access=LowPrecisionAccess,
    ),
    _job(
        "pgd-stopping-low",
        "until fooled, in bfloat16, on the network itself",
        copy=False,
        stopping=True,
        access=LowPrecisionAccess,
    ),
)
