"""Images on a card. There is none here: the same code runs on the processor, and what it makes is held against `Augment`."""

from fractions import Fraction
from importlib import import_module

import numpy as np
import pytest
import torch

from groundglass.core.numbers import fused
from groundglass.data import Augment, ImageSet, batches, on_card
from groundglass.data.on_card import ahead, resident, warp

batches_module = import_module("groundglass.data.batches")
CPU, CARD = torch.device("cpu"), torch.device("meta")
AUGMENTS = [None, Augment(rotation=0.0), Augment(), Augment(crop=0, rotation=180.0, flip=False)]


def pictures(count=20, shape=(32, 32)):
    g = torch.Generator().manual_seed(count)
    images = torch.randint(0, 256, (count, 3, *shape), dtype=torch.uint8, generator=g)
    return ImageSet("toy", "train", images, torch.arange(count) % 3, ("a", "b", "c"))


@pytest.mark.parametrize("shape", [(32, 32), (40, 24), (7, 1)])
@pytest.mark.parametrize("augment", AUGMENTS[1:])
def test_a_warp_is_torchs(augment, shape):
    images, index = pictures(shape=shape).floats(), torch.arange(20)
    theta = augment.maps(index, seed=3, epoch=1, height=shape[0], width=shape[1])
    found, wanted = warp(images, theta, turned=augment.rotation > 0), augment.warp(images, theta)
    if augment.rotation:  # a processor without AVX2 rounds otherwise
        assert torch.allclose(found, wanted, atol=2e-5)
    else:
        assert torch.equal(found, wanted)


@pytest.mark.parametrize("augment", AUGMENTS[:2])
def test_batches_of_images_that_stay_on_a_card_are_the_same(monkeypatch, augment):
    images = pictures()
    monkeypatch.setattr(batches_module, "resident", lambda images, augment, where: resident(images, augment, CPU))
    options = {"batch_size": 6, "seed": 4, "epoch": 2, "augment": augment, "start": 1}
    for here, there in zip(batches(images, **options), batches(images, where=CARD, **options), strict=True):
        assert torch.equal(there.images, here.images)
        assert torch.equal(there.labels, here.labels)
        assert torch.equal(there.index, here.index)


def test_images_that_would_come_out_otherwise_or_do_not_fit_stay_on_the_processor(monkeypatch):
    images = pictures()
    assert resident(images, None, CPU) is not None
    monkeypatch.setattr(on_card, "free_memory", lambda where: 4 * images.images.numel() - 1)
    assert resident(images, None, CPU) is None
    monkeypatch.setattr(on_card, "free_memory", lambda where: None)
    assert resident(ImageSet("floats", "train", images.floats(), images.labels, images.classes), None, CPU) is None
    real = on_card.warp
    monkeypatch.setattr(on_card, "warp", lambda *given, **how: real(*given, **how) * (1 + 1e-6))
    assert resident(images, Augment(), CPU) is None
    assert resident(images, None, CPU) is not None


def test_what_does_not_fit_is_made_ahead_and_moved(monkeypatch):
    images = pictures()
    monkeypatch.setattr(batches_module, "resident", lambda *given: None)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    found = list(batches(images, batch_size=6, seed=4, epoch=2, augment=Augment(), where=CARD))
    assert [tuple(batch.images.shape) for batch in found] == [(6, 3, 32, 32)] * 3 + [(2, 3, 32, 32)]
    assert {batch.images.device for batch in found} == {CARD}
    wanted = list(batches(images, batch_size=6, seed=4, epoch=2, augment=Augment()))
    assert all(torch.equal(a.labels, b.labels) for a, b in zip(found, wanted, strict=True))


def test_ahead_keeps_the_order_and_hands_errors_on():
    def parts():
        yield from range(5)
        raise KeyError("six")

    found = []
    with pytest.raises(KeyError, match="six"):
        found.extend(ahead(parts()))
    # What came before an error is given first.
    walk = ahead(parts())
    assert [next(walk) for _ in range(5)] == list(range(5))
    assert list(ahead(iter([]))) == []
    walk.close()


def nearest(value: Fraction) -> float:
    """In float32, ties to even."""
    guess = np.float32(float(value))
    around = [np.nextafter(guess, np.float32(end)) for end in (-np.inf, np.inf)]
    best = min((guess, *around), key=lambda one: (abs(Fraction(float(one)) - value), int(one.view(np.uint32)) & 1))
    return float(best)


def test_a_fused_product_is_rounded_once():
    g = torch.Generator().manual_seed(0)
    a, b, c = (torch.rand(300, generator=g) * 2 - 1 for _ in range(3))
    # Below a tie by less than float64 can tell: rounded twice it goes up.
    a = torch.cat([a, torch.tensor([1 + 2**-23])])
    b = torch.cat([b, torch.tensor([(1 - 2**-23) * 2**-18])])
    c = torch.cat([c, torch.tensor([64 + 2**-17])])
    exact = [
        nearest(Fraction(x) * Fraction(y) + Fraction(z))
        for x, y, z in zip(a.tolist(), b.tolist(), c.tolist(), strict=True)
    ]
    assert fused(a, b, c).tolist() == exact
    assert float((a[-1].double() * b[-1].double() + c[-1].double()).float()) != exact[-1]
    assert fused(a, 0.5, -0.25).tolist() == (a * 0.5 - 0.25).tolist()
