"""A surrogate learns what its target answers about some images, and nothing else."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from groundglass.models import ModelSpec, build, load_model
from groundglass.results.kinds import TRAIN
from groundglass.studies.cells.distil import DistilCell
from groundglass.studies.engine.context import Context
from groundglass.training import TrainingConfig
from tests.results.examples import made
from tests.studies.tiny import DATA

ASKED = made(TRAIN)
SPEC = ModelSpec(width=0.03, classes=10, mean=(0.5,) * 3, std=(0.5,) * 3)
TRAINING = TrainingConfig(epochs=1, batch_size=10, learning_rate=0.03)
CELL = DistilCell(
    target=None,
    answers="scores",
    queries=20,
    temperature=2.0,
    spec=SPEC,
    training=TRAINING,
    data="shapes",
    seed=0,
)
#: The same pictures, and no label of a training image as it was.
UNLABELLED = replace(DATA, train=replace(DATA.train, labels=(DATA.train.labels + 1) % 10))


class Deployed(nn.Module):
    """A fixed network that remembers what it was asked."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(10 * torch.randn(48, 10, generator=torch.Generator().manual_seed(3)))
        self.asked = []

    def forward(self, x):
        self.asked.append(x.detach().clone())
        return F.avg_pool2d(x, 8).flatten(1) @ self.weight


class Given(Context):
    """A run whose target is `deployed`."""

    def __init__(self, folder, dataset=DATA):
        super().__init__(folder, dataset=dataset)
        self.deployed = Deployed()

    def target(self, record):
        return self.deployed

    def network(self, record):
        return build(SPEC, seed=8)


class Named:
    name = "VGG-16"


def distilled(folder, dataset=DATA, *, tuned=False, **changes):
    cell, context = replace(CELL, **changes), Given(folder, dataset)
    object.__setattr__(cell, "target", Named())
    object.__setattr__(cell, "begin", Named() if tuned else None)
    object.__setattr__(cell, "_key", "0" * 12)
    result = cell.run([ASKED, ASKED] if tuned else [ASKED], context).result
    return result, load_model(folder / result.checkpoint), context


@pytest.mark.parametrize("answers", ["scores", "labels"])
def test_no_label_is_used_and_what_is_recorded_is_what_the_networks_answer(tmp_path, answers):
    result, surrogate, context = distilled(tmp_path / "one", answers=answers)
    _, other, _ = distilled(tmp_path / "other", UNLABELLED, answers=answers)
    assert all(torch.equal(a, b) for a, b in zip(surrogate.parameters(), other.parameters(), strict=True))
    images, labels = DATA.test.floats(), DATA.test.labels
    with torch.no_grad():
        own, target = surrogate(images).argmax(1), context.deployed(images).argmax(1)
    assert (result.right, result.agreed) == (int((own == labels).sum()), int((own == target).sum()))
    assert result.n_test == len(labels)


def test_each_public_image_is_asked_about_once_and_fewer_are_the_first_of_more(tmp_path):
    pixels = {}
    for queries in (20, 30):
        _, _, context = distilled(tmp_path / str(queries), queries=queries)
        asked = torch.cat(context.deployed.asked)
        # Then the test images, for the agreement: no query of the attacker's.
        assert len(asked) == queries + len(DATA.test)
        pixels[queries] = asked[:queries]
    assert torch.equal(pixels[20], pixels[30][:20])
    assert len(torch.unique(pixels[30].flatten(1), dim=0)) == 30
    public = {bytes(image.numpy().tobytes()) for image in DATA.train.floats()}
    assert all(image.numpy().tobytes() in public for image in pixels[30])


def test_what_is_learned_of_scores_is_their_softmax_at_the_temperature(tmp_path):
    context = Given(tmp_path)
    images, learned = CELL._ask(context.deployed, context)
    logits = context.deployed(images.floats())
    assert torch.allclose(learned, F.softmax(logits / 2, 1), atol=1e-6)
    assert torch.equal(images.labels, logits.argmax(1))
    told, nothing = replace(CELL, answers="labels")._ask(context.deployed, context)
    assert nothing is None
    assert torch.equal(told.labels, logits.argmax(1))


def test_more_queries_than_public_images_are_refused(tmp_path):
    with pytest.raises(ValueError, match="300 public images"):
        distilled(tmp_path, queries=301)


def test_a_surrogate_that_was_the_attackers_own_begins_with_its_weights(tmp_path):
    still = replace(TRAINING, learning_rate=1e-9, weight_decay=0.0)
    own = dict(build(SPEC, seed=8).named_parameters())
    for tuned in (True, False):
        _, surrogate, _ = distilled(tmp_path / str(tuned), tuned=tuned, training=still)
        same = [torch.allclose(weight, own[name], atol=1e-6) for name, weight in surrogate.named_parameters()]
        assert all(same) == tuned
