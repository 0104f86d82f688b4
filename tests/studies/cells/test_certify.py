"""Certificates of a study's networks: as the network's own, attacked each within its radius, and the same after a kill."""

import shutil
from dataclasses import replace

import pytest
import torch

from groundglass.certify import certified, smooth
from groundglass.optics import Camera
from groundglass.results import Run
from groundglass.results.kinds import CERTIFY
from groundglass.studies.cells import certify as module
from groundglass.studies.cells.certify import CertifyCell
from groundglass.studies.cells.check import check_cells
from groundglass.studies.defences.study import CHECKS, DefencesConfig
from groundglass.studies.engine.cell import key_of, with_inputs
from groundglass.studies.kit import targets
from groundglass.studies.registry import find_study
from tests.results.examples import made
from tests.studies.tiny import DATA, enter, forget, network, results, run, white_box
from tests.studies.tiny import targets as targets_of_tiny

pytestmark = pytest.mark.slow

SIGMA, N0, N, IMAGES = 0.1, 20, 100, 8
#: Images of a part.
PART = 4


def cells(config, dataset):
    # A noisy camera: what is resumed must have the noise that it would have had.
    trained = {name: replace(getattr(config, name), noise=SIGMA) for name in ("baseline", "hybrid")}
    networks = targets(replace(config, camera=Camera(read_noise=2.0), **trained), dataset)
    found = [
        CertifyCell(
            target=one, sigma=SIGMA, n0=N0, n=N, n_images=IMAGES, radii=(0.1, 0.05), rule=rule, judge_draws=30, seed=0
        )
        for one, rule in zip(networks, ("bp", "dfa"), strict=True)
    ]
    return with_inputs([*found, *check_cells(CHECKS, found)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("runs") / "certify"
    with pytest.MonkeyPatch.context() as patch:
        enter(patch, "white-box", white_box, cells=cells)
        patch.setattr(module, "_DRAWS", PART * (N0 + N))
        run("white-box", where)
        yield where


def certificates(folder):
    """Result and arrays, by the network's name."""
    return {one.config.model: (one.result, one.arrays()) for one in Run.open(folder).entries(CERTIFY)}


def of_others(record):
    """Whether certificates of VGG-16 have no part in it."""
    return record.kind != "check" and (record.kind != CERTIFY.name or record.config["model"] != "VGG-16")


def test_they_are_those_of_the_network_itself(folder):
    result, arrays = certificates(folder)["VGG-16"]
    test = DATA.test.head(IMAGES)
    alone = smooth(network(folder, "VGG-16"), SIGMA).certify(test.floats(), test.labels, n0=N0, n=N)
    assert arrays["prediction"].tolist() == [one.prediction for one in alone.images]
    # A copy of another rounding: a draw may count for another class.
    assert arrays["count"].tolist() == pytest.approx([one.count for one in alone.images], abs=1)
    assert result.at(0.1).count == pytest.approx(alone.certified_accuracy([0.1])[0.1].count, abs=1)
    assert result.at(0.3) is None


@pytest.mark.parametrize("name", ["VGG-16", "VGG-OPU"])
def test_no_attack_breaks_one_and_the_control_breaks_many(folder, name):
    result, arrays = certificates(folder)[name]
    assert result.attacked >= 6
    assert result.broken == 0
    assert result.outside >= result.attacked / 2
    assert (arrays["radius"][arrays["attacked"]] > 0).all()
    assert (result.frames > 0) == (name == "VGG-OPU")


def test_a_frame_says_what_is_certified_and_the_checks_pass(folder):
    opened = Run.open(folder)
    frame = opened.frame("certificates").set_index("network")
    assert list(frame["certified_radius"]) == [0.1, 0.1]
    for name, (result, arrays) in certificates(folder).items():
        right = arrays["prediction"] == arrays["label"]
        assert frame.loc[name, "certified_accuracy"] == (right & (arrays["radius"] >= 0.1)).mean()
        assert frame.loc[name, "average_certified_radius"] == pytest.approx((arrays["radius"] * right).mean())
        assert frame.loc[name, "smoothed_accuracy"] == right.mean() == result.right.share
    assert opened.frame("checks")["passed"].all()


def test_parts_do_not_matter(folder, tmp_path, monkeypatch):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    forget(copy, of_others)
    monkeypatch.setattr(module, "_DRAWS", 3 * (N0 + N))
    run("white-box", copy)
    assert results(copy) == results(folder)


class Killed(BaseException):
    """Not an error that anything may catch."""


def test_killed_between_parts_it_goes_on_with_the_noise_that_it_would_have_had(folder, tmp_path, monkeypatch):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    forget(copy, lambda record: record.kind != CERTIFY.name or record.config["model"] == "VGG-16")
    add, left = module.CertifyState.add, iter(range(1))

    def mortal(self, *given):
        add(self, *given)
        if next(left, None) is None:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(module.CertifyState, "add", mortal)
        with pytest.raises(Killed):
            run("white-box", copy)
    (path,) = (copy / "checkpoints").glob("????????????.safetensors")
    run("white-box", copy)
    assert not path.exists()
    assert results(copy) == results(folder)


def test_a_forged_certificate_is_broken_and_the_check_says_so(folder, tmp_path, monkeypatch):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    forget(copy, of_others)
    true = certified.certified_radius
    monkeypatch.setattr(certified, "certified_radius", lambda *given, **more: 20 * (true(*given, **more) or 0.0))
    run("white-box", copy)
    found = {name: result.broken for name, (result, _) in certificates(copy).items()}
    assert found["VGG-16"] >= 3
    assert found["VGG-OPU"] == 0
    (check,) = [one for one in Run.open(copy).records if one.name == CHECKS[0].name]
    assert not check.result["passed"]


@pytest.mark.parametrize(
    ("attacked", "broken", "outside", "passed"),
    [(12, 0, 6, (True, True)), (12, 1, 6, (False, True)), (12, 0, 0, (True, False)), (4, 0, 0, (True, False))],
)
def test_the_checks(attacked, broken, outside, passed):
    result = {"n_images": 13, "attacked": attacked, "abstained": 1, "broken": broken, "outside": outside}
    record = made(CERTIFY, result=result)
    assert tuple(check.find([record]).passed for check in CHECKS) == passed


def test_what_cannot_be_is_refused_and_each_setting_is_part_of_the_key():
    cell = cells(white_box(), DATA)[-3]
    assert isinstance(cell, CertifyCell)
    for changes in ({"alpha": 0.6}, {"sigma": 0.0}, {"n_images": 0}, {"radii": (-0.1,)}, {"radii": ()}):
        with pytest.raises(ValueError, match=next(iter(changes))):
            replace(cell, **changes)
    others = [replace(cell, **{name: 7}) for name in ("n0", "n", "attack_draws", "judge_draws", "control", "seed")]
    assert len({key_of(one) for one in (cell, *others)}) == 7


def test_rows_that_no_run_has_written_are_refused(tmp_path):
    flags = torch.tensor([True])
    rows = dict.fromkeys(("attacked", "broken", "outside"), flags)
    found = smooth(lambda x: x.flatten(1)[:, :3], 0.1).certify(torch.full((1, 1, 2, 2), 0.5), n0=2, n=3)
    module.CertifyState.begin(tmp_path / "one", "key", 4, (2, 3)).add(found, rows, 0)
    assert module.CertifyState.begin(tmp_path / "one", "key", 4, (2, 3)).done == 1
    with pytest.raises(ValueError, match="delete it"):
        module.CertifyState.begin(tmp_path / "one", "key", 4, (2, 4))


def test_the_study_of_defences_certifies_its_networks_in_each_repeat():
    settings = targets_of_tiny()
    config = DefencesConfig(**settings, repeats=2, certify_images=9, certify_fewer=5)
    plan = [cell for cell in find_study("defences").cells(config, DATA) if isinstance(cell, CertifyCell)]
    images = {cell.target.name: cell.n_images for cell in plan}
    assert len(images) == len(plan) == 16
    assert images["VGG-16 smoothed"] == images["VGG-OPU smoothed repeat 2"] == 9
    assert images["VGG-OPU AT repeat 2"] == images["VGG-16 TRADES"] == 5
    assert {cell.rule for cell in plan if "OPU" in cell.target.name} == {"dfa"}
    assert {cell.rule for cell in plan if "VGG-16" in cell.target.name} == {"bp"}
    assert {cell.sigma for cell in plan} == {config.sigma}
    none = replace(config, certify_fewer=0, repeats=1)
    assert len([cell for cell in find_study("defences").cells(none, DATA) if isinstance(cell, CertifyCell)]) == 2
