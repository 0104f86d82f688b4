import numpy as np
import pytest

from groundglass.attacks.unread import STEPS_BETWEEN_READS, Pace


class Simulated:
    """Runs that end at random: `hazard(age)` is the share of those of an age that end with their next step."""

    def __init__(self, hazard, *, steps, images, batch, seed=0):
        self.pace, self.random = Pace(steps), np.random.default_rng(seed)
        self.hazard, self.steps, self.left, self.batch, self.reads = hazard, steps, images, batch, 0

    def run(self):
        ages = np.zeros(0, int)
        while True:
            new = min(self.left, self.batch - len(ages))
            self.left -= new
            ages = np.concatenate([ages, np.zeros(new, int)])
            if not len(ages):
                return self
            steps = self.pace.until_read(ages)
            assert 1 <= steps <= min(STEPS_BETWEEN_READS, self.steps - ages.max())
            took, ended = np.zeros(len(ages), int), np.zeros(len(ages), bool)
            for step in range(steps):
                took += ~ended
                ended |= self.random.random(len(ages)) < np.array([self.hazard(age) for age in ages + step])
            self.pace.saw(ages, took, ended, steps)
            self.reads += 1
            ages = (ages + steps)[~ended]
            ages = ages[ages < self.steps]


HAZARDS = {
    "nobody ends": lambda age: 0.0,
    "nearly all at once": lambda age: 0.9,
    "a third soon, then few": lambda age: 0.1 * 0.8**age,
    "few, all along": lambda age: 0.01,
    "many, all along": lambda age: 0.1,
    "late": lambda age: 0.001 if age < 30 else 0.05,
}


@pytest.mark.parametrize("name", HAZARDS)
@pytest.mark.parametrize(("images", "batch"), [(1000, 128), (512, 512), (300, 20)])
def test_at_most_two_in_a_hundred_gradients_are_for_nothing(name, images, batch):
    made = Simulated(HAZARDS[name], steps=50, images=images, batch=batch).run()
    # What changes from one step to the next, and had never been seen, cannot be foreseen.
    assert made.pace.wasted <= (0.03 if name == "late" else 0.02) * made.pace.gradients
    steps = made.pace.gradients / batch
    assert made.reads < 1.02 * steps + 60
    if name in ("nobody ends", "a third soon, then few", "few, all along"):
        assert made.reads < 0.65 * steps
    if name == "nobody ends":
        assert made.reads < 0.2 * steps + 5


def test_runs_that_cannot_end_early_are_read_at_their_end():
    pace = Pace(20)
    assert pace.until_read(np.array([0, 9]), stopping=False) == 11
    assert pace.until_read(np.array([0, 2]), stopping=False) == STEPS_BETWEEN_READS


def test_what_was_for_nothing_is_counted():
    pace = Pace(20, every=5)
    assert pace.until_read(np.array([0, 17])) == 3
    assert pace.saw(np.array([0, 0, 4]), np.array([5, 2, 5]), np.array([False, True, True]), 5) == 3
    assert (pace.gradients, pace.wasted) == (15, 3)
