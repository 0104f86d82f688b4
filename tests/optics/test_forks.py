"""A device in a forked process draws noise of its own, and the same each time that the program forks in the same order."""

import os
import pickle

import pytest
import torch

from groundglass.optics import Camera, DriftingDevice, MovingDevice, SimulatedOPU

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]
BITS = torch.ones(4, 20, dtype=torch.uint8)


def noisy():
    return SimulatedOPU.create(20, 64, seed=1, camera=Camera(read_noise=3.0))


def moving():
    return MovingDevice.create(20, 64, count=4, seed=2)


def drifting():
    return DriftingDevice(SimulatedOPU.create(20, 64, seed=3), correlation=2.0, hold=1)


def in_child(work):
    """What `work` gives in a forked process."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, pickle.dumps(work()))
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as file:
        found = pickle.loads(file.read())
    os.waitpid(pid, 0)
    return found


def frames(device):
    return device.measure(BITS).tolist()


@pytest.mark.parametrize("make", [noisy, moving, drifting])
def test_children_repeat_neither_their_parent_nor_each_other(make):
    device = make()
    child, other = (in_child(lambda: frames(device)) for _ in range(2))
    grandchild = in_child(lambda: in_child(lambda: frames(device)))
    seen = [frames(device), child, other, grandchild]
    assert all(a != b for i, a in enumerate(seen) for b in seen[:i])
    # The parent's own stream is what it was, and so is one that is made in the child.
    assert seen[0] == frames(make()) == in_child(lambda: frames(make()))


@pytest.mark.parametrize("make", [noisy, moving, drifting])
def test_the_same_forks_give_the_same_noise(make):
    def program():
        device = make()
        return [in_child(lambda: frames(device)), in_child(lambda: frames(device)), frames(device)]

    assert in_child(program) == in_child(program)


def test_without_noise_all_measure_the_same():
    device = SimulatedOPU.create(20, 64, seed=1)
    assert in_child(lambda: frames(device)) == frames(device)
