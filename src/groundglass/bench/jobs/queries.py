"""Attacks by queries. The ball is so small that nothing is fooled, so each image takes its whole budget."""

from functools import partial
from typing import Any

import torch

from groundglass.attacks import NES, AttackResult, Bandits, Linf, Parsimonious, RayS, Square, frozen_for_attack
from groundglass.attacks.search import QueryAttack
from groundglass.bench import peers
from groundglass.bench.floors import convolutions
from groundglass.bench.job import Bench, Contest, Job, Part
from groundglass.bench.subjects import attacked
from groundglass.core.numbers import counting

_EPS = 1e-6
_THOUSAND = 1000
#: Rows in a pass.
_ROWS = 256


def _asking(bench: Bench, attack: QueryAttack, with_peers: bool = False) -> Contest:
    subject, queries = attacked(bench, bench.sizes.asked), bench.sizes.queries
    images, labels = subject.images, subject.labels
    model = frozen_for_attack(subject.network, images)
    ball, rows = Linf(_EPS), images[counting(_ROWS) % len(images)]

    def thousands(found: AttackResult) -> float:
        return int(found.queries.sum()) / _THOUSAND

    def floors(found: AttackResult) -> dict[str, Part]:
        def passes(network: Any) -> Part:
            def run() -> None:
                with torch.no_grad():
                    network(rows)

            return Part(run, _THOUSAND / len(rows))

        alone = convolutions(subject.network, rows, "forward", times=_THOUSAND / len(rows))
        return {"passes of the copy": passes(model), "passes of the network": passes(subject.network), **alone}

    others: dict[str, peers.Peer] = {}
    if with_peers:
        times = _THOUSAND / (len(images) * queries)
        others = peers.square(subject, eps=_EPS, queries=queries, batch=_ROWS, times=times)
    return Contest(
        work=lambda: attack(model, images, labels, ball, budget=queries, seed=bench.seed, batch_size=_ROWS),
        units=thousands,
        floors=floors,
        peers=others,
    )


def _job(name: str, title: str, attack: QueryAttack, **options: Any) -> Job:
    return Job(
        name,
        f"{title}, {{asked}} images, {{queries}} queries each, VGG-16 of width {{width:g}}",
        "forward passes alone, or their convolutions, in full batches",
        partial(_asking, attack=attack, **options),
        unit="1,000 queries",
    )


JOBS = (
    _job("nes", "NES", NES(samples=50, step_size=0.01)),
    _job("bandits", "bandits", Bandits(step_size=0.01)),
    _job("parsimonious", "parsimonious", Parsimonious(hierarchical=False)),
    _job("hierarchical", "parsimonious, hierarchical", Parsimonious(hierarchical=True)),
    _job("square", "Square", Square(), with_peers=True),
    _job("rays", "RayS, by labels alone", RayS()),
)
