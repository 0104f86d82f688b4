"""Fair shares of the frames, whatever clients ask."""

import numpy as np
import pytest

from groundglass.optics.remote.errors import TooFastError
from groundglass.service.tokens import Budgets, Client
from groundglass.service.turns import Request, Turns


def request(client: str, rows: int, fingerprint: str = "a", exposure: float = 1.0) -> Request:
    who = Client(id=client, name="x", roles=("measure",), devices=("*",), budgets=Budgets(), made=0.0)
    return Request(who, np.zeros((rows, 2), np.uint8), fingerprint, exposure, None, lambda: None)


def measured(picked: dict[Request, int]) -> dict[str, int]:
    """Act as if they had been measured and sent; rows by client."""
    found: dict[str, int] = {}
    for one, count in picked.items():
        one.measured += count
        one.pieces.append(memoryview(b""))
        one.sent += 1
        found[one.client.id] = found.get(one.client.id, 0) + count
    return found


def run(turns: Turns, most: int, frames: int) -> dict[str, int]:
    total: dict[str, int] = {}
    while sum(total.values()) < frames and (picked := turns.pick(most)):
        assert sum(picked.values()) <= most
        for client, count in measured(picked).items():
            total[client] = total.get(client, 0) + count
        for one in [one for one in turns.all() if one.ended]:
            turns.drop(one)
    return total


def test_a_client_alone_gets_all() -> None:
    turns = Turns()
    turns.put(request("one", 1500))
    assert measured(turns.pick(1024)) == {"one": 1024}
    assert turns.wanted(1024) == 476
    assert measured(turns.pick(1024)) == {"one": 476}


@pytest.mark.parametrize("most", [1, 7, 32, 100, 1024])
def test_shares_are_equal_whatever_the_size_and_number_of_requests(most: int) -> None:
    turns = Turns()
    for _ in range(4):
        turns.put(request("greedy", 5000))
    for _ in range(20):
        turns.put(request("small", 50))
    turns.put(request("large", 1000))
    shares = run(turns, most, 2400)
    # Of as many frames as all of them have work for, a turn's difference at most.
    assert max(shares.values()) - min(shares.values()) <= 32 + most


def test_200_clients_one_of_which_asks_for_200_times_as_much() -> None:
    turns = Turns()
    for k in range(199):
        turns.put(request(f"client {k}", 64))
    for _ in range(16):
        turns.put(request("greedy", 800))
    shares = run(turns, 1024, 200 * 64)
    assert min(shares.values()) == 64
    assert shares["greedy"] <= 64 + 1024


def test_a_single_row_waits_for_less_than_a_turn_of_each_other() -> None:
    turns = Turns()
    for k in range(5):
        turns.put(request(f"heavy {k}", 10_000))
    measured(turns.pick(100))
    turns.put(request("light", 1))
    before = 0
    while "light" not in (found := measured(turns.pick(16))):
        before += sum(found.values())
    assert before <= 6 * 32


def test_one_measurement_has_one_matrix_and_one_exposure() -> None:
    turns = Turns()
    asked = [request("a", 10), request("b", 10, "other"), request("c", 10, exposure=2.0), request("d", 10)]
    for one in asked:
        turns.put(one)
    groups = []
    while picked := turns.pick(100):
        groups.append({(one.fingerprint, one.exposure) for one in picked})
        measured(picked)
        for one in picked:
            turns.drop(one)
    assert all(len(group) == 1 for group in groups)
    assert len(groups) == 3
    assert not turns.all()


def test_a_reader_that_does_not_read_is_passed_over() -> None:
    turns = Turns()
    slow, other = request("slow", 1000), request("other", 1000)
    turns.put(slow)
    turns.put(other)
    for _ in range(2):
        picked = turns.pick(64)
        measured(picked)
        slow.sent = 0
    assert slow.measured == 64
    assert measured(turns.pick(64)) == {"other": 64}
    slow.sent = len(slow.pieces)
    assert measured(turns.pick(64)) == {"slow": 32, "other": 32}


def test_the_queue_of_a_client_is_bounded() -> None:
    turns = Turns()
    for _ in range(32):
        turns.put(request("one", 1))
    with pytest.raises(TooFastError) as refused:
        turns.put(request("one", 1))
    assert refused.value.retry_after
    turns.put(request("other", 1))
    wide = Turns()
    wide.put(request("one", 2**25))  # 64 MiB of bits
    with pytest.raises(TooFastError):
        wide.put(request("one", 1))


def test_a_client_that_is_slowed_gets_its_rate_and_others_the_rest() -> None:
    turns = Turns()
    turns.slow("slowed", 100.0)  # 5 at once
    turns.put(request("slowed", 1000))
    turns.put(request("other", 1000))
    picked = turns.pick(200)
    turns.charge(picked)
    assert measured(picked) == {"slowed": 5, "other": 195}
    wait = turns.pause()
    assert wait is not None
    assert 0 < wait <= 0.01
