"""HopSkipJump here and in foolbox: after equal queries as near, within what the draws of a few images may do."""

from contextlib import suppress

import pytest
import torch
from torch import nn

import groundglass.compat.foolbox as our_foolbox
from groundglass.attacks import L2, HopSkipJump, LabelAccess
from tests.attacks.toy import blobs, trained
from tests.interop.peers import need

QUERIES = 150
IMAGES, LABELS = blobs(8, seed=5)


class Spent(Exception):
    pass


class Meter(nn.Module):
    """Keeps the nearest point that fooled among the first so many that were asked about, and then refuses."""

    def __init__(self, image, label):
        super().__init__()
        self.image, self.label, self.asked, self.nearest = image, label, 0, float("inf")

    def forward(self, x):
        logits = trained()(x.float())
        far = L2(1.0).norm(x.float() - self.image)
        new = far > 0  # the image itself is asked about to see what it is
        fooled = (logits.argmax(1) != self.label) & new & (self.asked + new.cumsum(0) <= QUERIES)
        self.nearest = min([self.nearest, *far[fooled].tolist()])
        self.asked += int(new.sum())
        if self.asked >= QUERIES:
            raise Spent
        return logits


def foolbox(meter, image, label):
    peer = need("foolbox")
    model = peer.PyTorchModel(meter.eval(), bounds=(0, 1), device="cpu")
    peer.attacks.HopSkipJumpAttack(constraint="l2").run(model, image, label)


def test_hop_skip_jump_comes_as_near():
    """Further peers and norms, with more images and queries: benchmarks/boundary_peers.py. ART's draws cannot be seeded."""
    ours = HopSkipJump(norm="L2")(LabelAccess(trained(), per_image=QUERIES + 1), IMAGES, LABELS)
    theirs = []
    torch.manual_seed(0)
    for image, label in zip(IMAGES.split(1), LABELS.split(1), strict=True):
        meter = Meter(image, label)
        with suppress(Spent):
            foolbox(meter, image, label)
        theirs.append(meter.nearest)
    ratio = (ours.norm / torch.tensor(theirs)).log()
    assert bool(ours.success.all())
    # Of so few images two standard errors of the mean are some 20%.
    assert abs(float(ratio.mean())) < 2.5 * float(ratio.std()) / len(ratio) ** 0.5 + 0.05


def test_their_calls_are_ours():
    pytest.importorskip("foolbox")
    fmodel = our_foolbox.PyTorchModel(trained(), bounds=(0, 1))
    attack = our_foolbox.HopSkipJumpAttack(steps=2, initial_gradient_eval_steps=20)
    raw, clipped, success = attack(fmodel, IMAGES[:3], LABELS[:3], epsilons=[0.0, 9.0])
    assert success.tolist() == [[False] * 3, [True] * 3]
    assert torch.equal(clipped[1], raw[1])


def test_arts_calls_are_ours():
    from groundglass.compat.art.attacks.evasion import HopSkipJump as OurHop
    from groundglass.compat.art.attacks.evasion import ZooAttack
    from groundglass.compat.art.estimators.classification import PyTorchClassifier

    classifier = PyTorchClassifier(trained(), nn.CrossEntropyLoss(), (3, 8, 8), 3, clip_values=(0, 1))
    hop = OurHop(classifier, max_iter=2, init_eval=20)
    found = hop.generate(IMAGES[:3].numpy(), LABELS[:3].numpy())
    assert bool((trained()(torch.from_numpy(found)).argmax(1) != LABELS[:3]).all())
    zoo = ZooAttack(classifier, max_iter=10, nb_parallel=24, initial_const=10.0, learning_rate=0.1, use_resize=False)
    zoo.generate(IMAGES[:3].numpy(), LABELS[:3].numpy())
    assert zoo.result.success.any()
    assert int(zoo.result.queries.max()) <= 1 + 10 * 49
