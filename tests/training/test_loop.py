from dataclasses import replace

import pytest
import torch

from groundglass.core import DamagedFileError
from groundglass.models import ModelSpec, accuracy, build
from groundglass.optics import SimulatedOPU
from groundglass.training import BackProp, DivergedError, HybridDFA, PGDTraining, train

from .conftest import SPEC, fresh, same


@pytest.mark.parametrize("kind", ["bp", "hybrid"])
def test_both_credit_assignments_learn(coloured, config, kind):
    spec = SPEC if kind == "hybrid" else replace(SPEC, device_in=None, device_out=None)
    device = SimulatedOPU.create(32, 64, seed=1) if kind == "hybrid" else None
    model = build(spec, device=device, seed=2)
    credit = HybridDFA() if kind == "hybrid" else BackProp()
    history = train(model, coloured, replace(config, epochs=12), credit=credit, seed=0)
    assert history[-1].loss < history[0].loss
    assert accuracy(model, coloured) > 0.7  # guessing: a third
    assert not model.training


def test_hybrid_training_changes_what_lies_below_the_device(coloured, config, defended):
    before = defended.network.features[0].weight.detach().clone()
    train(defended, coloured, replace(config, epochs=1), credit=HybridDFA(), seed=0)
    assert not torch.equal(before, defended.network.features[0].weight)


def test_a_seed_decides_the_result(coloured, config, credit):
    results = []
    for seed in (1, 1, 2):
        model = fresh()
        train(model, coloured, replace(config, epochs=1), credit=credit, seed=seed)
        results.append(model.state_dict())
    assert same(results[0], results[1])
    assert not same(results[0], results[2])


class Poisoned(HybridDFA):
    """Hybrid training whose logits turn to NaN after some steps."""

    def __init__(self, after):
        self.steps_left = after

    def logits(self, model, images):
        self.steps_left -= 1
        return super().logits(model, images) * (float("nan") if self.steps_left < 0 else 1.0)


def test_divergence_stops_with_the_reason_and_keeps_the_last_good_checkpoint(coloured, config, tmp_path, credit):
    path = tmp_path / "checkpoint.safetensors"
    after_one = {}
    steps = 3  # of 30 of 90 images: one epoch is good

    def remember(result):
        after_one["bytes"] = path.read_bytes()

    with pytest.raises(DivergedError, match=r"(?i)nan.* in epoch 2.*checkpoint.* kept"):
        train(fresh(), coloured, config, credit=Poisoned(steps), seed=4, checkpoint=path, on_epoch=remember)
    assert path.read_bytes() == after_one["bytes"]
    whole, resumed = fresh(), fresh()
    train(whole, coloured, config, credit=credit, seed=4)
    train(resumed, coloured, config, credit=credit, seed=4, checkpoint=path)
    assert same(whole.state_dict(), resumed.state_dict())


def test_a_run_that_gets_worse_than_guessing_is_stopped(coloured, config, credit):
    with pytest.raises(DivergedError, match="Lower the learning rate"):
        train(fresh(), coloured, replace(config, learning_rate=1e4), credit=credit, seed=0)


def test_a_checkpoint_of_another_run_or_a_damaged_one_is_refused(coloured, config, tmp_path, credit):
    path, config = tmp_path / "checkpoint.safetensors", replace(config, epochs=1)
    train(fresh(), coloured, config, credit=credit, seed=0, checkpoint=path)
    hard = PGDTraining(eps=0.1, rule="dfa")
    for other, message in [
        ({"learning_rate": 0.5}, r"learning_rate was 0\.02, is 0\.5"),
        ({"adversarial": hard}, "adversarial was None"),
    ]:
        with pytest.raises(ValueError, match=message):
            train(fresh(), coloured, replace(config, **other), credit=credit, seed=0, checkpoint=path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DamagedFileError, match="delete it"):
        train(fresh(), coloured, config, credit=credit, seed=0, checkpoint=path)


def test_credit_assignments_refuse_the_wrong_network(coloured, config, defended):
    with pytest.raises(ValueError, match="HybridDFA"):
        train(defended, coloured, config, credit=BackProp(), seed=0)
    undefended = build(ModelSpec(width=0.05, classes=3, mean=(0.5,) * 3, std=(0.5,) * 3), seed=0)
    with pytest.raises(ValueError, match="defend"):
        train(undefended, coloured, config, credit=HybridDFA(), seed=0)
    defended.destroy_feedback()
    with pytest.raises(ValueError, match="destroyed"):
        train(defended, coloured, config, credit=HybridDFA(), seed=0)


def test_progress_is_told_images_loss_and_accuracy(coloured, config, credit):
    told = []
    train(fresh(), coloured, config, credit=credit, seed=0, progress=lambda *a, **k: told.append((a, k)))
    (_, done, total), figures = told[-1]
    assert done == total == 3 * 90
    assert set(figures) == {"loss", "accuracy"}


def of_labels(images, sure=1.0):
    """Answers that say the label with this probability."""
    answers = torch.full((len(images), 3), (1 - sure) / 2)
    answers[torch.arange(len(images)), images.labels] = sure
    return answers


def test_answers_take_the_place_of_labels(coloured, config, credit):
    """Sure ones are the labels; others are learned as they are, whatever the labels say."""
    short, states = replace(config, epochs=1), []
    for answers in (None, of_labels(coloured)):
        model = fresh()
        history = train(model, coloured, short, credit=credit, seed=1, answers=answers)
        states.append((model.state_dict(), history[0].loss))
    (labelled, loss), (answered, same_loss) = states
    assert loss == pytest.approx(same_loss, rel=1e-5)
    assert all(torch.allclose(labelled[key], answered[key], atol=1e-4) for key in labelled)
    other = replace(coloured, labels=(coloured.labels + 1) % 3)
    models = [fresh(), fresh()]
    for model, images in zip(models, (coloured, other), strict=True):
        train(model, images, short, credit=credit, seed=1, answers=of_labels(coloured, 0.8))
    assert same(*(model.state_dict() for model in models))


def test_answers_that_cannot_be_are_refused_and_those_of_another_training(coloured, config, tmp_path, credit):
    hard = replace(config, adversarial=PGDTraining(eps=0.01, rule="dfa"))
    good = of_labels(coloured)
    for answers, changed, said in (
        (good[:-1], config, "shape"),
        (2 * good, config, "adding up to 1"),
        (good * torch.nan, config, "probabilities"),
        (good.long(), config, "floats"),
        (good, hard, "leave out"),
    ):
        with pytest.raises(ValueError, match=said):
            train(fresh(), coloured, changed, credit=credit, seed=0, answers=answers)
    with pytest.raises(TypeError, match="`answers`"):
        train(fresh(), coloured, config, credit=credit, seed=0, answers=good.numpy())
    path, short = tmp_path / "checkpoint.safetensors", replace(config, epochs=1)
    train(fresh(), coloured, short, credit=credit, seed=0, answers=good, checkpoint=path)
    with pytest.raises(ValueError, match="answers"):
        train(fresh(), coloured, short, credit=credit, seed=0, answers=of_labels(coloured, 0.9), checkpoint=path)
