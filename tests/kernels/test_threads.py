import threading
import time

import pytest
import torch

from groundglass.kernels.threads import for_each


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_each_item_once(two_threads):
    seen = []
    for_each(range(50), seen.append)
    assert sorted(seen) == list(range(50))


def test_whoever_leaves_tells_the_others_before_waiting_for_them(two_threads):
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
