"""What an attacker does with a device, and what an audit does with a network."""

from collections.abc import Callable

from groundglass.attacks import Linf
from groundglass.audit import Audit, AuditConfig, audit
from groundglass.bench import floors
from groundglass.bench.job import Bench, Contest, Job, Part
from groundglass.bench.subjects import attacked
from groundglass.core import generator
from groundglass.core.numbers import normal
from groundglass.optics import DeviceAccess, SimulatedOPU
from groundglass.optics.retrieval import FixedExposure
from groundglass.optics.retrieval.method import Scale

_FRAMES_AN_INPUT = 12
# Half the images fall to the first attack, and the others are attacked by all.
_EPS = 2 / 255


def _retrieving(bench: Bench) -> Contest:
    n, m = bench.sizes.retrieved_in, bench.sizes.retrieved_out
    access = DeviceAccess(SimulatedOPU.create(n, m, seed=bench.seed))
    method, scale = FixedExposure(), Scale(access.top, access.mean_reading)
    design = method.design(n, _FRAMES_AN_INPUT * n, scale, seed=bench.seed)
    bits = design.bits(0, len(design))
    readings = access.measure(bits).T.contiguous()

    def least(found: object) -> dict[str, Part]:
        # Real and imaginary part of each row.
        x, rows = bits.float(), normal(n, 2 * m, generator=generator(bench.seed, "rows"))
        fields = floors.products(x, rows)
        back = floors.products(x.T.contiguous(), x @ rows)
        return {name: Part(_both(fields[name], back[name])) for name in fields}

    return Contest(work=lambda: method.solve(design, readings, scale, seed=bench.seed), floors=least)


def _both(one: Part, other: Part) -> Callable[[], None]:
    def run() -> None:
        one.run()
        other.run()

    return run


def _auditing(bench: Bench) -> Contest:
    sizes = bench.sizes
    subject = attacked(bench, sizes.audited)
    config = AuditConfig(steps=sizes.audit_steps, queries=sizes.audit_queries)

    def dearest(found: Audit) -> float:
        return max(attempt.seconds for attempt in found.attempts) / found.seconds

    return Contest(
        work=lambda: audit(subject.network, subject.images, subject.labels, Linf(_EPS), config=config, seed=bench.seed),
        within=("its dearest attack", dearest),
    )


JOBS = (
    Job(
        "retrieval",
        "retrieval of U, {retrieved_in} -> {retrieved_out}, 12 N frames, without taking them",
        "one comparison of U with all readings: a product, and its adjoint",
        _retrieving,
    ),
    Job(
        "audit",
        "audit of VGG-16 of width {width:g}, {audited} images, {audit_steps} steps, {audit_queries} queries",
        "its dearest attack",
        _auditing,
    ),
)
