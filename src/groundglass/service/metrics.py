"""The service's status as Prometheus reads it, by prometheus-client and a registry of its own."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from groundglass.service.alarms import HELD
from groundglass.service.durations import BOUNDS, Spread
from groundglass.service.status import DeviceStatus, Status

_ENDS = [*(f"{bound:g}" for bound in BOUNDS), "+Inf"]


def exposition(status: Status) -> tuple[bytes, str]:
    """The metrics of a status, and of the process: the text, and its media type."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Told(status))
    ProcessCollector(registry=registry)
    encode, kind = choose_encoder("")
    return encode(registry), kind


class _Told(Collector):
    def __init__(self, status: Status) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        status = self._status
        frames: Counter[tuple[str, str]] = Counter()
        held: Counter[tuple[str, str]] = Counter()
        for client in status.clients:
            for used in client.used:  # a name may have had several tokens
                frames[client.name, used.device] += used.frames
            held.update(client.held.items() if not client.ended else ())
        yield _counter("frames", "Frames that were counted", ("client", "device"), frames.items())
        left = [
            ((client.name, name), frames)
            for client in status.clients
            if not client.ended
            for name, frames in asdict(client.left).items()
            if frames is not None
        ]
        yield _gauge("budget_left_frames", "What a budget of a token has left", ("client", "budget"), left)
        ends = [((code,), count) for code, count in status.ends.items()]
        yield _counter("requests", "Requests by how they ended: ok, or the code of an error", ("code",), ends)
        yield from _devices(status.devices)
        each = [((one.name, response), held[one.name, response]) for one in status.devices for response in HELD]
        yield _gauge("clients_held_back", "Clients that a guard holds back", ("device", "response"), each)
        yield _gauge("clock_ahead_seconds", "Of the service's time before the system's", (), [((), status.ahead)])
        yield _gauge("up_seconds", "Since the service started", (), [((), status.up)])


def _devices(devices: Iterable[DeviceStatus]) -> Iterator[Metric]:
    devices = list(devices)
    for name, what, values in (
        ("device_up", "Whether it measures", [float(one.alive) for one in devices]),
        ("matrix_age_seconds", "Since the matrix was drawn", [one.age for one in devices]),
        ("matrix_frames", "That the matrix has measured", [one.frames for one in devices]),
        ("queue_requests", "Requests that wait or are being measured", [one.requests for one in devices]),
        ("queue_rows", "Their rows", [one.rows for one in devices]),
    ):
        yield _gauge(
            name, what, ("device",), [((one.name,), value) for one, value in zip(devices, values, strict=True)]
        )
    for name, what, values in (
        ("alarms", "What a guard has found", [one.alarms for one in devices]),
        ("redraws", "Matrices that were drawn", [one.redraws for one in devices]),
    ):
        counts = [((one.name,), float(value)) for one, value in zip(devices, values, strict=True)]
        yield _counter(name, f"{what}, since the service started", ("device",), counts)
    made = [((one.name, one.fingerprint), 1.0) for one in devices]
    yield _gauge("matrix_info", "The matrix that measures", ("device", "fingerprint"), made)
    seconds = HistogramMetricFamily(
        "groundglass_measurement_seconds",
        "Of shared measurements: to count the frames on the disk, to measure them",
        labels=("device", "stage"),
    )
    for one in devices:
        for stage, spread in one.seconds.items():
            seconds.add_metric([one.name, stage], list(_buckets(spread)), spread.total)
    yield seconds


def _buckets(spread: Spread) -> Iterator[tuple[str, float]]:
    """As Prometheus counts: all up to each end."""
    below = 0
    for end, count in zip(_ENDS, spread.counts, strict=True):
        below += count
        yield end, below


_Values = Iterable[tuple[tuple[str, ...], float]]


def _gauge(name: str, what: str, labels: tuple[str, ...], told: _Values) -> Metric:
    family = GaugeMetricFamily(f"groundglass_{name}", what, labels=labels)
    for values, value in told:
        family.add_metric(values, value)
    return family


def _counter(name: str, what: str, labels: tuple[str, ...], told: _Values) -> Metric:
    family = CounterMetricFamily(f"groundglass_{name}", what, labels=labels)
    for values, value in told:
        family.add_metric(values, value)
    return family
