"""Further draws of an attacker in a study: the first is not attacked again, and no draw attacks what has fallen."""

import shutil
from dataclasses import replace

import pytest

from groundglass.adaptive import draw_seed
from groundglass.attacks import PGD
from groundglass.core.schema import written
from groundglass.results import Run
from groundglass.studies.cells import draws as module
from groundglass.studies.cells.attack import AttackCell
from groundglass.studies.cells.draws import DrawsCell
from groundglass.studies.engine.cell import key_of, with_inputs
from groundglass.studies.kit import targets
from tests.studies.tiny import DATA, enter, forget, results, run, white_box

RADII = (0.02, 0.05)
DRAWS = 4
RULES = ("dfa-fresh", "own-head", "bit-flip")


def nested(target, rule):
    """The first draws at every radius, and the cells of further draws, one in the other."""
    found = []
    for eps in RADII:
        first = AttackCell(
            target=target, rule=rule, attack=PGD(steps=4, step_size=None), eps=eps, n_images=24, labels=100, seed=0
        )
        found.append(DrawsCell(first=first, draws=DRAWS, smaller=found[-1] if found else None))
    return found


def cells(config, dataset):
    _, defended = targets(config, dataset)
    found = [cell for rule in RULES for cell in nested(defended, rule)]
    few = DrawsCell(first=found[0].first, draws=2, n_images=7)
    small, large = nested(defended, "bit-flip")
    inside = replace(large.first, smaller=small.first)
    again = AttackCell(
        target=defended, rule="dfa-fresh", attack=PGD(steps=4, step_size=None), eps=RADII[0], n_images=24, labels=100,
        seed=draw_seed(0, 1),
    )  # fmt: skip
    return with_inputs([*found, few, again, inside])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("runs") / "draws"
    with pytest.MonkeyPatch.context() as patch:
        enter(patch, "white-box", white_box, cells=cells)
        run("white-box", where)
        yield where


@pytest.fixture
def finished(folder):
    return Run.open(folder)


def of(found, rule, **settings):
    frame = found.draws[(found.draws["rule"] == rule) & (found.draws["draws"] == settings.pop("draws", DRAWS))]
    return [found.arrays(key) for key in frame.sort_values("radius").index]


@pytest.mark.parametrize("rule", RULES)
def test_accuracy_falls_with_draws_and_with_the_radius_and_the_record_adds_up(finished, rule):
    before = None
    for arrays in of(finished, rule):
        assert ((arrays["fell"] >= 0) == arrays["success"]).all()
        assert arrays["clean_correct"][arrays["success"]].all()
        assert arrays["fell"].max() < DRAWS
        if before is not None:
            fallen = before["fell"] >= 0
            assert (arrays["fell"][fallen] >= 0).all()
            assert (arrays["fell"][fallen] <= before["fell"][fallen]).all()
        before = arrays
    frame = finished.draws[(finished.draws["rule"] == rule) & (finished.draws["draws"] == DRAWS)].sort_values("radius")
    assert list(frame["accuracy_under_attack"]) == sorted(frame["accuracy_under_attack"], reverse=True)
    assert (frame["accuracy_after_1"] >= frame["accuracy_under_attack"]).all()
    assert frame["accuracy_after_5"].isna().all()  # there were no five


def attack(found, rule, seed):
    """The arrays of the attack in the smallest ball."""
    told = [r for r in found.records if r.kind == "attack" and (r.config["rule"], r.config["seed"]) == (rule, seed)]
    return found.arrays(min(told, key=lambda record: record.config["eps"]).key)


@pytest.mark.parametrize("rule", RULES)
def test_the_first_draw_is_the_attack_itself(finished, rule):
    alone, drawn = attack(finished, rule, 0), of(finished, rule)[0]
    assert ((drawn["fell"] == 0) == (alone["success"] & alone["clean_correct"])).all()


def test_the_second_draw_is_the_attack_with_its_seed(finished):
    alone, drawn = attack(finished, "dfa-fresh", draw_seed(0, 1)), of(finished, "dfa-fresh")[0]
    standing = drawn["fell"] != 0
    assert (alone["success"][standing] == (drawn["fell"] == 1)[standing]).all()
    assert any((arrays["fell"] > 0).any() for rule in RULES for arrays in of(finished, rule))


def test_what_the_smaller_ball_has_fooled_is_not_attacked_again(finished):
    here = [r for r in finished.records if r.kind == "attack" and r.config["rule"] == "bit-flip"]
    small, whole, inside = sorted(here, key=lambda r: (r.config["eps"], len(r.inputs)))
    before, alone, found = (finished.arrays(r.key) for r in (small, whole, inside))
    fallen = before["success"]
    assert fallen.any()
    assert (found["gradients"][fallen] == 0).all()
    assert (found["success"] == (alone["success"] | fallen)).all()
    for name in ("norm", "prediction"):
        assert (found[name][fallen] == before[name][fallen]).all()
        assert (found[name][~fallen] == alone[name][~fallen]).all()
    assert inside.result["correct"] <= min(small.result["correct"], whole.result["correct"])
    assert inside.result["gradients"] < whole.result["gradients"]


def test_few_images_are_the_first_of_all(finished):
    (few,), whole = of(finished, "dfa-fresh", draws=2), of(finished, "dfa-fresh")[0]
    wanted = whole["fell"][:7].copy()
    wanted[wanted >= 2] = -1
    assert (few["fell"] == wanted).all()


def test_keys_of_records_serve_as_those_of_attacks_do(finished):
    frame = finished.draws[finished.draws["draws"] == DRAWS]
    key = frame.index[0]
    assert finished.together([key]).share == pytest.approx(frame.loc[key, "accuracy_under_attack"])


class Killed(BaseException):
    """Not an error that anything may catch."""


def test_killed_between_draws_it_goes_on(folder, tmp_path, monkeypatch):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    forget(copy, lambda record: record.kind != "draws")
    add, left = module.DrawsState.add, iter(range(3))

    def mortal(self, *given):
        add(self, *given)
        if next(left, None) is None:
            raise Killed

    monkeypatch.setattr(module.DrawsState, "add", mortal)
    with pytest.raises(Killed):
        run("white-box", copy)
    monkeypatch.undo()
    with pytest.MonkeyPatch.context() as patch:
        enter(patch, "white-box", white_box, cells=cells)
        (path,) = [path for path in (copy / "checkpoints").iterdir() if path.stem not in ("vgg-16", "vgg-opu")]
        run("white-box", copy)
        assert not path.exists()
    assert results(copy) == results(folder)


def test_a_cell_that_cannot_be_is_refused_and_keys_of_attacks_are_what_they_were():
    one, other = nested(targets(white_box(), DATA)[1], "fa")[:2]
    with pytest.raises(ValueError, match="another rule"):
        replace(other, first=replace(other.first, rule="dfa-fresh"))
    for changes, says in (
        ({"draws": DRAWS - 1}, "give it no more"),
        ({"first": replace(other.first, eps=0.001)}, "in order"),
    ):
        with pytest.raises(ValueError, match=says):
            replace(other, **changes)
    assert key_of(one) != key_of(replace(one, again=PGD(steps=2)))
    assert "again" not in written(one.config())
    first = one.first
    assert key_of(first) == key_of(replace(first, labels=7))
    assert "labels" not in written(first.config())
    own = replace(first, rule="own-head")
    assert key_of(own) != key_of(replace(own, labels=7))
    assert first.config().settings["keep"] == "best"
    assert own.config().settings["keep"] == "last"


def test_what_is_not_the_same_attack_is_no_smaller_one():
    small, large = (one.first for one in nested(targets(white_box(), DATA)[1], "exact-blurred"))
    one = replace(large, matrix_error=0.5)
    assert replace(one, smaller=replace(small, matrix_error=0.5)).smaller is not None
    with pytest.raises(ValueError, match="another matrix_error"):
        replace(one, smaller=replace(small, matrix_error=0.2))
    with pytest.raises(ValueError, match="lies in this one"):
        replace(small, smaller=large)
