from dataclasses import replace

import pytest
import torch

from groundglass.adaptive import make_rule
from groundglass.attacks import (
    APGD,
    FAB,
    L2,
    PGD,
    AttackCheckpoint,
    CarliniWagnerL2,
    DeepFool,
    Ensemble,
    Exact,
    GradientAccess,
    InputDiversity,
    Linf,
    Mixture,
    Targeted,
    TransferPGD,
)
from groundglass.attacks import checkpoint as module
from groundglass.attacks.backward_rules import Normalised
from groundglass.attacks.model_identity import identity_of
from groundglass.core import DamagedFileError
from groundglass.core.states import passed
from groundglass.models import defend
from groundglass.optics import SimulatedOPU
from tests.attacks.toy import Counting, RowModel, assert_same, attacked
from tests.attacks.toy import problem as make_problem

ATTACKS = [
    PGD(steps=7, step_size=None, random_start=True, restarts=3),
    PGD(steps=5, step_size=None, stop_when_fooled=False, keep="last"),
    APGD(steps=7, restarts=2),
    APGD(steps=5, loss="dlr", targets=2),
    CarliniWagnerL2(steps=8, searches=2, learning_rate=0.05, initial_c=0.1),
    FAB(steps=3, restarts=2),
    FAB(steps=3, targets=2, stop_when_fooled=False),
    DeepFool(steps=6),
    TransferPGD(steps=6, momentum=1.0, random_start=True, keep="highest"),
    TransferPGD(steps=5, momentum=1.0, diversity=InputDiversity(), step_size=0.05),
]


BALL = Linf(0.03)


class Killed(BaseException):
    """Not an error that anything may catch."""


class Mortal(Counting):
    """Is killed when it has been called so often."""

    def __init__(self, model, calls):
        super().__init__(model)
        self.left = calls

    def forward(self, x):
        if not self.left:
            raise Killed
        self.left -= 1
        return super().forward(x)


@pytest.fixture(scope="module")
def problem():
    return make_problem(classes=4)


def run(attack, model, problem, **options):
    ball = L2(0.3) if isinstance(attack, CarliniWagnerL2) else BALL
    return attacked(model, *problem[1:], attack, ball, batch_size=10, **options)[0]


@pytest.fixture
def always(monkeypatch):
    monkeypatch.setattr(module, "SECONDS_BETWEEN_SAVES", -1.0)


@pytest.mark.one_in(5)
@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_killed_anywhere_it_goes_on_to_the_same_result_and_does_nothing_twice(attack, problem, always, tmp_path):
    whole = Counting(problem[0])
    wanted = run(attack, whole, problem)
    for kills in ([9], [whole.calls // 2], [whole.calls - 2], [7, 1, 3, whole.calls // 3]):
        path, calls = tmp_path / f"{kills}.safetensors", 0
        for after in kills:
            mortal = Mortal(problem[0], after)
            with pytest.raises(Killed):
                run(attack, mortal, problem, checkpoint=AttackCheckpoint(path))
            calls += mortal.calls
        assert path.exists()
        last = Counting(problem[0])
        assert_same(run(attack, last, problem, checkpoint=AttackCheckpoint(path)), wanted)
        # What was under way is lost: a step, with the checks that belong to it.
        assert whole.calls <= calls + last.calls <= whole.calls + 5 * len(kills)


@pytest.mark.parametrize("attack", [ATTACKS[0], ATTACKS[3], ATTACKS[5]], ids=repr)
def test_the_file_says_how_many_images_have_passed(attack, problem, always, tmp_path):
    mortal, path = Mortal(problem[0], 15), tmp_path / "a.safetensors"
    assert passed(path) == 0
    with pytest.raises(Killed):
        run(attack, mortal, problem, checkpoint=AttackCheckpoint(path))
    # What was under way is lost.
    assert mortal.rows - 50 <= passed(path) <= mortal.rows


def test_killed_before_the_first_save_it_starts_afresh(problem, tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(Killed):
        run(ATTACKS[0], Mortal(problem[0], 20), problem, checkpoint=AttackCheckpoint(path))
    assert not path.exists()  # half a minute has not passed
    resumed = run(ATTACKS[0], problem[0], problem, checkpoint=AttackCheckpoint(path))
    assert_same(resumed, run(ATTACKS[0], problem[0], problem))


def test_seconds_of_all_earlier_runs_are_told(problem, always, tmp_path, monkeypatch):
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(clock)))
    found = []
    for _ in range(3):
        kept = AttackCheckpoint(tmp_path / "a.safetensors")
        with pytest.raises(Killed):
            run(ATTACKS[0], Mortal(problem[0], 9), problem, checkpoint=kept)
        found.append(kept.earlier_seconds)
    assert found[0] == 0 < found[1] < found[2]
    assert found[1] % 10 == 0
    assert found[2] - found[1] >= 10


def test_that_of_other_work_is_refused(problem, always, tmp_path):
    path = tmp_path / "a.safetensors"
    attack = ATTACKS[0]
    with pytest.raises(Killed):
        run(attack, Mortal(problem[0], 9), problem, checkpoint=AttackCheckpoint(path))
    before = path.read_bytes()
    model, images, labels = problem

    def resume(attack=attack, model=model, images=images, labels=labels, ball=BALL, **options):
        kept = AttackCheckpoint(path)
        return attacked(model, images, labels, attack, ball, batch_size=10, checkpoint=kept, **options)[0]

    for other, what in [
        ({"attack": replace(attack, steps=8)}, "settings"),
        ({"attack": ATTACKS[-1]}, "attack"),
        ({"images": 1 - images}, "images"),
        ({"labels": (labels + 1) % 4}, "images"),
        ({"indices": range(1, 38)}, "images"),
        ({"ball": Linf(0.04)}, "ball"),
        ({"seed": 6}, "seed"),
        ({"model": RowModel(seed=4, classes=4)}, "weights"),
        ({"criterion": lambda logits, labels: logits.argmax(1) > 1}, "criterion"),
    ]:
        with pytest.raises(ValueError, match=f"of another run: {what}"):
            resume(**other)
    assert path.read_bytes() == before
    assert_same(resume(), run(attack, model, problem))
    path.write_bytes(before[: len(before) // 2])
    with pytest.raises(DamagedFileError, match="delete it"):
        resume()


def test_a_targeted_attack_goes_on_towards_its_own_target_alone(problem, always, tmp_path):
    path, (model, images, labels) = tmp_path / "a.safetensors", problem
    images = (16 * images).round() / 16  # the same numbers, to the bit, there and back from [-1, 1]
    problem, target = (model, images, labels), Targeted((labels + 1) % 4)
    with pytest.raises(Killed):
        run(ATTACKS[0], Mortal(model, 9), problem, checkpoint=path, criterion=target)
    for other in (None, Targeted((labels + 2) % 4)):
        with pytest.raises(ValueError, match="of another run: criterion"):
            run(ATTACKS[0], model, problem, checkpoint=path, criterion=other)
    there, options = GradientAccess(model, bounds=(-1, 1)), {"seed": 5, "batch_size": 10, "checkpoint": path}
    with pytest.raises(ValueError, match="of another run: bounds"):
        ATTACKS[0](there, 2 * images - 1, labels, Linf(0.06), criterion=target, **options)
    resumed = run(ATTACKS[0], model, problem, checkpoint=path, criterion=target)
    assert_same(resumed, run(ATTACKS[0], model, problem, criterion=target))


def test_a_file_of_a_model_without_weights_to_tell_is_taken_over(problem, always, tmp_path):
    model, path = problem[0], tmp_path / "attack.safetensors"
    assert identity_of(model.forward) == dict.fromkeys(("weights", "devices", "rules"))
    run(ATTACKS[0], model, problem, checkpoint=AttackCheckpoint(path))
    resumed = run(ATTACKS[0], model.forward, problem, checkpoint=AttackCheckpoint(path))
    assert_same(resumed, run(ATTACKS[0], model, problem))


def test_models_are_told_apart_by_weights_device_and_rule():
    def network(device_seed=1, seed=0):
        torch.manual_seed(seed)
        body = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 4))
        return defend(body, at="1", device=SimulatedOPU.create(16, 32, seed=device_seed), seed=seed)

    one = network()
    views = [one.seen_through(make_rule(name, one, seed=0)) for name in ("fa", "dfa-fresh")]
    # Of one name, and drawn or fitted otherwise.
    views += [one.seen_through(make_rule(name, one, seed=1)) for name in ("fa", "dfa-fresh")]
    views += [one.seen_through(Exact(make_matrix(seed), name="exact")) for seed in (0, 1)]
    others = [network(device_seed=2), network(seed=3), *views]
    assert identity_of(one) == identity_of(network()) == identity_of(Counting(one))
    found = [identity_of(model) for model in (one, *others)]
    assert all(a != b for i, a in enumerate(found) for b in found[:i])
    assert GradientAccess(one).model_identity == found[0]
    assert [identity_of(Ensemble([view])) for view in views] == found[-6:]


def test_a_rule_that_is_made_again_with_other_last_bits_is_the_same_one():
    def model(matrix):
        holder = torch.nn.Linear(2, 2)
        torch.nn.init.zeros_(holder.weight)
        torch.nn.init.zeros_(holder.bias)
        holder.rule = Normalised(Mixture([Exact(matrix)]), 2.0)
        return holder

    matrix = make_matrix(0)
    again = matrix * (1 + 1e-6 * torch.rand(matrix.shape, generator=torch.Generator().manual_seed(1)))
    assert identity_of(model(matrix)) == identity_of(model(again))
    assert identity_of(model(matrix)) != identity_of(model(make_matrix(1)))
    assert identity_of(model(matrix)) != identity_of(model(make_matrix(0, rows=33)))
    kept = identity_of(model(matrix))
    assert {len(kept[name][0]) for name in ("rule_contents",)} == {16}


def make_matrix(seed, rows=32):
    return torch.randn(rows, 16, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))


def test_a_sweep_with_another_radius_goes_on_from_what_it_has(problem, always, tmp_path):
    model, images, labels = problem[:3]
    path = tmp_path / "sweep"

    def swept(*radii, at=path):
        asked = Counting(model)
        return PGD(steps=8)(asked, images, labels, Linf, eps=radii, checkpoint=at), asked.rows

    swept(0.05, 0.1)
    grown, more = swept(0.05, 0.1, 0.2)
    fresh, whole = swept(0.05, 0.1, 0.2, at=None)
    assert more < whole
    _, between = swept(0.02, 0.05, 0.1)  # other images come to .05: no file of theirs is there
    assert between > 0
    for ours, theirs in zip(grown, fresh, strict=True):
        assert torch.equal(ours.adversarial, theirs.adversarial)
