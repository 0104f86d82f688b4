"""Settings that came later: without them all is as it was; with them an identity says so."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from groundglass.data import Augment
from groundglass.models import build
from groundglass.training import (
    BackProp,
    Freezing,
    Growing,
    PGDTraining,
    TrainingConfig,
    encode_bits,
    encode_features,
    fit_block,
    fit_classifier,
    train,
)

from .conftest import SPEC

LATER = {
    "nesterov": False,
    "noise": 0.1,
    "label_smoothing": 0.1,
    "augment": Augment(rotation=0.0),
    "average": 1.0,
    "growing": Growing(),
    "freezing": Freezing(),
}
OLD = {"epochs", "batch_size", "optimiser", "learning_rate", "momentum", "weight_decay", "schedule", "precision"}


def test_an_identity_names_what_is_not_as_it_was():
    usual = TrainingConfig(epochs=3)
    assert set(usual.described()) == OLD
    for name, value in LATER.items():
        told = replace(usual, **{name: value}).described()
        assert set(told) == OLD | {name}
        assert {key: told[key] for key in OLD} == usual.described()
    assert replace(usual, growing=Growing()).described()["growing"] == {"start": 0.5, "until": 0.6}
    hard = PGDTraining(eps=0.1)
    assert replace(usual, adversarial=hard).described() == {**usual.described(), "adversarial": hard.described()}


def plain():
    return build(replace(SPEC, device_in=None, device_out=None, dropout=0.0), seed=2)


def test_smoothed_labels_are_a_mixture_with_all_classes(coloured, config):
    """The loss of the first step, and an optimum that does not reach certainty."""
    one = replace(config, epochs=1, batch_size=90, label_smoothing=0.3)
    model, again = plain(), plain().train()
    (told,) = train(model, coloured, one, credit=BackProp(), seed=0)
    logits = again(coloured.floats())
    targets = 0.7 * F.one_hot(coloured.labels, 3) + 0.1
    expected = -(targets * logits.log_softmax(1)).sum(1).mean()
    assert told.loss == pytest.approx(expected.item(), rel=1e-4)
    sure = {}
    for smoothing in (0.0, 0.3):
        model = plain()
        train(model, coloured, replace(config, epochs=10, label_smoothing=smoothing), credit=BackProp(), seed=0)
        sure[smoothing] = model(coloured.floats()).softmax(1).amax(1).mean().item()
    assert sure[0.3] < 0.88 < 0.93 < sure[0.0]


def test_a_classifier_learns_smoothed_labels_too(coloured, config, defended):
    bits, sure = encode_bits(defended, coloured), {}
    for smoothing in (0.0, 0.5):
        fit_classifier(defended, bits, coloured.labels, replace(config, epochs=20, label_smoothing=smoothing), seed=0)
        sure[smoothing] = defended(coloured.floats()).softmax(1).amax(1).mean().item()
    assert sure[0.5] < sure[0.0]


def test_an_augmentation_of_its_own_takes_the_place_of_the_data_sets(coloured, config):
    seen = []
    shift = Augment(crop=3, flip=False, rotation=0.0)
    for own, given in ((None, shift), (shift, Augment()), (None, None)):
        model, images = plain(), []
        model.register_forward_pre_hook(lambda module, args, images=images: images.append(args[0].clone()))
        train(model, coloured, replace(config, epochs=1, augment=own), credit=BackProp(), seed=0, augment=given)
        seen.append(torch.cat(images))
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[1], seen[2])


@pytest.mark.parametrize("name", ["noise", "augment", "growing", "freezing"])
def test_what_is_for_images_is_not_for_features(coloured, config, defended, name):
    asked = replace(config, **{name: LATER[name]})
    bits, features = encode_bits(defended, coloured), encode_features(defended, coloured)[0]
    with pytest.raises(ValueError, match=name):
        fit_classifier(defended, bits, coloured.labels, asked, seed=0)
    with pytest.raises(ValueError, match=name):
        fit_block(defended, features, coloured.labels, asked, seed=0)


def test_the_loss_of_adversarial_training_is_its_own(config):
    with pytest.raises(ValueError, match="label_smoothing"):
        replace(config, label_smoothing=0.1, adversarial=PGDTraining(eps=0.1))
