"""The vectorised search against the same search written plainly, for one image, with a heap."""

import heapq

import pytest
import torch

from groundglass.attacks import Linf, Parsimonious, ScoreAccess
from groundglass.core import generator
from tests.attacks.toy import Linear, Recorded, RowModel

SHAPE = (3, 8, 8)


def plain_search(model, image, label, eps, budget, attack, *, seed, number):
    """Every image that the attack asks about, in order, for one image alone (Moon et al. 2019, algorithm 1 and 2)."""
    asked = []
    sign = -torch.ones(SHAPE)
    size, rounds = attack.block_size, 0

    class Stopped(Exception):
        pass

    @torch.no_grad()
    def loss_of(signs):
        x = (image + eps * signs).clamp(0, 1)
        if len(asked) == budget:
            raise Stopped
        asked.append(x)
        logits = model(x[None])[0]
        if int(logits.argmax()) != label:
            raise Stopped
        return float(torch.nn.functional.cross_entropy(logits.double(), torch.tensor(label)))

    def turned(signs, block):
        row, column, channel = block
        other = signs.clone()
        other[channel, row : row + size, column : column + size] *= -1
        return other

    try:
        while True:
            blocks = [(r, c, k) for r in range(0, 8, size) for c in range(0, 8, size) for k in range(3)]
            order = torch.randperm(len(blocks), generator=generator(seed, "parsimonious", number, rounds)).tolist()
            for start in range(0, len(blocks), attack.mini_batch):
                batch = [blocks[i] for i in order[start : start + attack.mini_batch]]
                current = loss_of(sign)
                for _ in range(attack.iterations):
                    for going_in in (True, False):
                        members = [bool(sign[k, r, c] > 0) for r, c, k in batch]
                        heap = []
                        for i, block in enumerate(batch):
                            if members[i] != going_in:
                                heapq.heappush(heap, (current - loss_of(turned(sign, block)), i))
                        if heap:
                            worst, i = heapq.heappop(heap)
                            sign, current = turned(sign, batch[i]), current - worst
                        while heap:
                            _, i = heapq.heappop(heap)
                            value = loss_of(turned(sign, batch[i]))
                            if heap and current - value > heap[0][0]:
                                heapq.heappush(heap, (current - value, i))
                                continue
                            if value < current:
                                break
                            sign, current = turned(sign, batch[i]), value
            rounds += 1
            size = max(1, size // 2) if attack.hierarchical else size
    except Stopped:
        return asked


@pytest.mark.one_in(5)
@pytest.mark.parametrize(
    "attack",
    [
        Parsimonious(block_size=4, mini_batch=5),
        Parsimonious(block_size=4, mini_batch=64),
        Parsimonious(block_size=2, mini_batch=16),
        Parsimonious(block_size=4, mini_batch=8, hierarchical=True),
        Parsimonious(block_size=4, mini_batch=7, iterations=3),
        Parsimonious(block_size=3, mini_batch=10),
    ],
    ids=lambda a: f"{a.block_size}-{a.mini_batch}-{a.hierarchical}-{a.iterations}",
)
def test_it_asks_what_the_plain_search_asks(attack):
    model = RowModel(seed=3, size=192)
    images = torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(1))
    labels, eps, budget = model(images).argmax(1), 0.04, 200
    fooled = 0
    for number in range(len(images)):
        recording = Recorded(model)
        access = ScoreAccess(recording, per_image=budget)
        one = slice(number, number + 1)
        result = attack(access, images[one], labels[one], Linf(eps), seed=9, indices=[number])
        wanted = plain_search(
            model, images[number], int(labels[number]), eps, budget - 1, attack, seed=9, number=number
        )
        seen = recording.rows
        assert len(seen) == len(wanted)
        assert torch.equal(torch.stack(seen), torch.stack(wanted))
        fooled += int(result.success)
    assert 0 < fooled < len(images), "the comparison should see images that fall and images that stand"


def test_on_a_linear_model_it_finds_the_best_corner():
    """Blocks of one pixel are independent there: one pass over all of them is the optimum, exactly."""
    weight = torch.randn(SHAPE, generator=torch.Generator().manual_seed(2))
    images = torch.full((2, *SHAPE), 0.5)
    best = 0.1 * float(weight.abs().sum())
    for share, fooled in ((0.99, True), (1.01, False)):
        model = Linear(weight, -best * share)
        result = Parsimonious(block_size=1, mini_batch=200, loss="margin")(
            ScoreAccess(model, per_image=500), images, torch.tensor([0, 0]), Linf(0.1), seed=0
        )
        assert bool(result.success.all()) == fooled
        if not fooled:
            moved = (result.adversarial[0] - images[0]).sign()
            assert torch.equal(moved, weight.sign())


def test_every_question_is_a_corner_of_the_box():
    model = Recorded(RowModel(seed=3, size=192))
    images = torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(1))
    labels = model.model(images).argmax(1)
    eps = (0.02, 0.04, 0.01)
    Parsimonious(block_size=2)(ScoreAccess(model, per_image=100), images, labels, Linf(eps), seed=0)
    widths = torch.tensor(eps)[:, None, None]
    corners = torch.stack([(images - widths).clamp(0, 1), (images + widths).clamp(0, 1)])
    for x in torch.cat(model.asked)[3:]:
        at_corner = ((x - corners).abs() < 1e-6).any(0)
        assert bool(at_corner.flatten(1).all(1).any())


def test_a_group_asks_more_and_finds_the_same():
    model = RowModel(seed=3, size=192)
    images = torch.rand(8, *SHAPE, generator=torch.Generator().manual_seed(4))
    labels = model(images).argmax(1)

    def run(group):
        attack = Parsimonious(block_size=2, mini_batch=16, group=group)
        return attack(ScoreAccess(model, per_image=200), images, labels, Linf(0.06), seed=0)

    one, many = run(1), run(8)
    both = one.success & many.success
    assert int(both.sum()) >= 3
    assert torch.equal(one.adversarial[both], many.adversarial[both])
    extra = (many.queries - one.queries)[both]
    assert bool((extra >= 0).all())
    assert bool((extra < 8).all())
