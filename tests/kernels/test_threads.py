import threading
import time

import pytest
import torch

from groundglass.kernels.threads import for_each, rest_idle_threads
from tests.threads import torch_threads


@pytest.fixture
def two_threads():
    with torch_threads(2):
        yield


def test_each_item_once(two_threads):
    seen = []
    for_each(range(50), seen.append)
    assert sorted(seen) == list(range(50))


def test_an_interruption_tells_the_others_before_waiting_for_them(two_threads):
    told = threading.Event()

    def work(item: int) -> None:
        if item == 0:
            raise KeyboardInterrupt
        assert told.wait(60)

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        for_each(range(2), work, leaving=told.set)
    assert told.is_set()
    assert time.monotonic() - started < 30


def test_torch_goes_on_after_its_idle_threads_were_sent_to_rest(two_threads):
    x = torch.randn(300, 300, generator=torch.Generator().manual_seed(0))
    before = x @ x
    for _ in range(3):
        rest_idle_threads()
        assert torch.equal(x @ x, before)
    assert torch.get_num_threads() == 2
