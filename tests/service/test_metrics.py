"""The status, by JSON and as Prometheus reads it: the right figures, for the right eyes, and no secret."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from groundglass.core import schema
from groundglass.optics import SimulatedOPU
from groundglass.optics.remote import errors
from groundglass.service.policy import Redraw
from groundglass.service.status import Status
from groundglass.service.watch import Watch
from tests.contracts.test_device_contract import M, N, draw
from tests.service import serving
from tests.service.serving import Bench
from tests.service.test_redraw import ONE_BIT, Sees

SEED = 9_876_543_210_123
OPERATOR = ("administer",)


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """Two devices, with some traffic."""
    with serving.bench() as one:
        lab = one.serve(
            "lab", SimulatedOPU.create(N, M), watch=Watch(Sees(), "refuse"), policy=Redraw(frames=1000, overlap=100.0)
        )
        one.serve("spare", SimulatedOPU.create(N, M, seed=SEED))
        alice = one.client("lab", one.token("alice", frames=100))
        alice.measure(draw(20))
        one.client("spare", one.token("bob", roles=("measure",), devices=("spare",))).measure(draw(7))
        with pytest.raises(errors.GuardedError):
            one.client("lab", one.token("mallory")).measure(ONE_BIT)
        with pytest.raises(errors.FrameBudgetError):
            alice.measure(draw(90))
        lab.redraw()
        alice.refresh()
        alice.measure(draw(5))
        one.ledger.tokens.revoke("bob")
        yield one


@pytest.fixture
def client(bench: Bench) -> Iterator[httpx.Client]:
    with bench.http() as one:
        yield one


def ask(client: httpx.Client, path: str, token: str) -> Any:
    return client.get(path, headers={"Authorization": f"Bearer {token}"})


def samples(text: str) -> dict[tuple[str, ...], float]:
    """By name and labels, in the order of their names."""
    return {
        (one.name, *(value for _, value in sorted(one.labels.items()))): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def test_metrics(bench: Bench, client: httpx.Client) -> None:
    answer = ask(client, "/metrics", bench.token(roles=OPERATOR))
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = samples(answer.text)
    lab = bench.service.devices["lab"]
    expected = {
        ("groundglass_frames_total", "alice", "lab"): 25,
        ("groundglass_frames_total", "bob", "spare"): 7,
        ("groundglass_budget_left_frames", "frames", "alice"): 75,
        ("groundglass_requests_total", "guarded"): 1,
        ("groundglass_requests_total", "frame-budget"): 1,
        ("groundglass_alarms_total", "lab"): 1,
        ("groundglass_alarms_total", "spare"): 0,
        ("groundglass_redraws_total", "lab"): 1,
        ("groundglass_matrix_frames", "lab"): 5,
        ("groundglass_matrix_info", "lab", lab.versions.fingerprint): 1,
        ("groundglass_clients_held_back", "lab", "refuse"): 1,
        ("groundglass_clients_held_back", "spare", "refuse"): 0,
        ("groundglass_queue_requests", "lab"): 0,
        ("groundglass_queue_rows", "lab"): 0,
        ("groundglass_device_up", "lab"): 1,
    }
    assert {key: found.get(key) for key in expected} == expected
    assert found["groundglass_clock_ahead_seconds",] < 1
    assert 0 < found["groundglass_matrix_age_seconds", "lab"] < 600
    assert found["process_resident_memory_bytes",] > 2**20
    for stage in ("count", "measure"):
        name = "groundglass_measurement_seconds"
        buckets = [value for key, value in found.items() if key[:2] == (f"{name}_bucket", "lab") and key[3] == stage]
        assert buckets == sorted(buckets)
        assert len(buckets) == 14
        assert buckets[-1] == found[f"{name}_count", "lab", stage] == 2
        assert found[f"{name}_sum", "lab", stage] > 0


def test_counts_do_not_go_back_when_a_name_gets_another_token(bench: Bench, client: httpx.Client) -> None:
    bench.client("spare", bench.token("bob")).measure(draw(3))
    found = samples(ask(client, "/metrics", bench.token(roles=OPERATOR)).text)
    assert found["groundglass_frames_total", "bob", "spare"] == 10


def test_status(bench: Bench, client: httpx.Client) -> None:
    answer = ask(client, "/status", bench.token(roles=OPERATOR))
    status = schema.read(Status, answer.json(), "the status")
    assert status == schema.read(Status, schema.plain(status, "status"), "again")
    lab, spare = status.devices
    assert (lab.name, lab.in_features, lab.public, spare.public) == ("lab", N, False, True)
    assert (lab.frames, lab.frames_left, lab.redraws, lab.measured, lab.guard) == (5, 995, 1, 25, "refuse")
    assert 90 < next(iter(lab.old.values())) <= 100
    assert lab.can_redraw
    clients = {one.name: one for one in status.clients if not one.ended}
    assert clients["alice"].left.frames == 75
    assert [(one.device, one.frames, one.today, one.last_minute) for one in clients["alice"].used] == [
        ("lab", 25, 25, 25)
    ]
    assert clients["mallory"].held == {"lab": "refuse"}
    assert [one.client for one in status.alarms] == ["mallory"]


def test_an_operator_of_one_device_sees_nothing_of_another(bench: Bench, client: httpx.Client) -> None:
    token = bench.token("narrow", roles=OPERATOR, devices=("spare",))
    text = ask(client, "/status", token).text
    status = schema.read(Status, ask(client, "/status", token).json(), "the status")
    assert [one.name for one in status.devices] == ["spare"]
    assert not status.alarms
    assert not any(one.held or [used for used in one.used if used.device != "spare"] for one in status.clients)
    assert bench.service.devices["lab"].versions.fingerprint not in text
    assert not [key for key in samples(ask(client, "/metrics", token).text) if "lab" in key]


def test_who_may_look(bench: Bench, client: httpx.Client) -> None:
    for path in ("/status", "/metrics"):
        assert client.get(path).status_code == 401
        assert ask(client, path, "gg_nobody").status_code == 401
        answer = ask(client, path, bench.token(roles=("measure", "calibrate", "redraw")))
        assert (answer.status_code, answer.json()["error"]) == (403, "role-refused")


def test_no_secret_is_in_them(bench: Bench, client: httpx.Client) -> None:
    token = bench.token(roles=OPERATOR)
    text = ask(client, "/status", token).text + ask(client, "/metrics", token).text
    for secret in (token.split("_", 2)[2], str(bench.folder), "service.db", str(SEED), f"{SEED:x}"):
        assert secret not in text
