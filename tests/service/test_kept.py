"""What is kept of clients, and what each of them has under way: bounded."""

import time

import numpy as np
import pytest

from groundglass.optics.remote import errors
from groundglass.service import kept, under_way
from groundglass.service.turns import Request


def test_answers_are_kept_for_a_while_and_up_to_a_bound() -> None:
    def one(name: str, client: str = "c", settled: bool = True) -> Request:
        request = Request(None, np.zeros((4, 2), np.uint8), "a", 1.0, None, lambda: None, settled=settled)  # type: ignore[arg-type]
        answers.keep((client, "d", name), request, 100_000)
        return request

    answers = kept.Answers(most=350_000)
    b = one("b", "bob")
    first, _, third = (one(name) for name in "xyz")  # of the client that has most
    assert answers.find(("c", "d", "x"), first) is None
    assert answers.find(("bob", "d", "b"), b) is b
    assert answers.find(("c", "d", "z"), third) is third
    assert answers.find(("bob", "d", "z"), third) is None
    for name in "xyz" * 20:  # in place of the one before
        last = one(name)
    assert answers.find(("c", "d", "z"), last) is last
    assert answers.find(("bob", "d", "b"), b) is b
    measured = [one(str(k), settled=False) for k in range(5)]
    assert [answers.find(("c", "d", str(k)), measured[k]) for k in range(5)] == measured
    answers = kept.Answers(seconds=0.0)
    third = one("c")
    time.sleep(0.001)
    assert answers.find(("c", "d", "c"), third) is None


def test_a_client_has_so_much_under_way_and_the_others_as_much() -> None:
    load = under_way.UnderWay()
    ends = [load.begin("alice", 2**22) for _ in range(under_way._MOST)]
    with pytest.raises(errors.TooFastError) as many:
        load.begin("alice", 1)
    assert many.value.retry_after
    load.begin("bob", 2**60)()  # one may be of any size
    for end in ends[:2]:
        end()
    load.begin("alice", 2**23)
    with pytest.raises(errors.TooFastError):
        load.begin("alice", 1)
