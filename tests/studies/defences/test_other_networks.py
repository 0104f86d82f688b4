"""The families of other architectures and of other teaching signals: their plans, and small ones that are run."""

from dataclasses import replace

import pytest

from groundglass.models import DefendedNetwork
from groundglass.results import Run
from groundglass.results.kinds import CRAFT, TRAIN, TRANSFER
from groundglass.results.repeats import repeat_of
from groundglass.studies.cells.check import CheckCell
from groundglass.studies.cells.craft import CommonCell, CraftCell, TransferCell
from groundglass.studies.cells.network import PlaceCell, TrainCell
from groundglass.studies.defences import credits, study
from groundglass.studies.defences.study import DefencesConfig
from groundglass.studies.engine.cell import key_of, with_inputs
from groundglass.studies.engine.plan import Below, Plan
from groundglass.studies.engine.run import _check_names as check_names
from groundglass.studies.recipe import configure
from groundglass.studies.registry import find_study
from groundglass.training.classifier import FINE_TUNING
from tests.results.examples import made
from tests.studies import tiny

SIGNALS = ("feedback-alignment", "sign-symmetry", "direct-feedback", "estimated-derivative")
OPUS = ["VGG-OPU", *(f"VGG-OPU {signal}" for signal in SIGNALS), "VGG-OPU bp"]


def planned(data, *families):
    config = configure(find_study("defences"), "laptop", data=data, seed=0, precision="float32")
    config = replace(config, families=families, repeats=1)
    cells = study.cells(config, tiny.pictures(data, n_train=10, n_test=10))
    check_names(cells)
    return config, cells


@pytest.mark.parametrize("data", ["cifar10", "cifar100"])
def test_the_other_architectures_are_trained_as_vgg_is(data):
    config, cells = planned(data, "architectures")
    networks = {cell.name: cell for cell in cells if cell.kind == "train"}
    stages = () if data == "cifar10" else ("-DFA",)
    for label, architecture in (("ResNet-18", "resnet18"), ("ViT", "vit")):
        trained = {label} | ({f"{label}-OPU"} if not stages else {f"{label}{stage}" for stage in stages})
        for name in trained:
            cell = networks.pop(name)
            assert isinstance(cell, TrainCell)
            assert cell.spec.architecture == architecture
            assert cell.credit == ("bp" if name == label else "hybrid-dfa")
        if stages:
            placed = networks.pop(f"{label}-OPU")
            assert isinstance(placed, PlaceCell)
            assert placed.features.name == f"{label}-DFA"
            assert placed.device is not None
    assert not networks
    audited = {cell.target.name for cell in cells if cell.kind == "audit"}
    assert audited == {"ResNet-18", "ResNet-18-OPU", "ViT", "ViT-OPU"}
    assert config.vit.optimiser == "adam"


@pytest.mark.parametrize("data", ["cifar10", "cifar100"])
def test_every_signal_teaches_a_network_with_the_layer_and_one_without(data):
    _, cells = planned(data, "credits")
    networks = {cell.name: cell for cell in cells if cell.kind == "train"}
    assert {f"{name}{end}" for name in OPUS for end in ("", " without layer")} <= set(networks)
    for name in OPUS:
        without, defended = networks[f"{name} without layer"], networks[name]
        assert isinstance(without, PlaceCell)
        assert (without.device, without.encoding, without.frozen) == (None, "bits", "below device")
        below = defended.features if isinstance(defended, PlaceCell) else defended
        assert key_of(without.features) == key_of(below), "the same features"
        assert defended.device is not None
        signal = name.removeprefix("VGG-OPU").strip() or "hybrid-dfa"
        assert below.credit == signal
        assert (below.device is None) == (signal == "bp" or (data == "cifar100" and signal != "estimated-derivative"))
    # All but the signal is one recipe.
    first, *others = (networks[name] for name in OPUS if isinstance(networks[name], TrainCell))
    assert all(replace(one, name=first.name, credit=first.credit) == first for one in others)
    assert set(credits.SIGNALS) == set(SIGNALS)


def test_images_made_on_vgg_16_are_tried_on_all_of_them():
    _, cells = planned("cifar10", "ordinary", "credits")
    (common,) = (cell for cell in cells if isinstance(cell, CommonCell))
    assert [one.name for one in common.networks] == [
        "VGG-16",
        *(f"{name}{end}" for name in OPUS for end in ("", " without layer")),
    ]
    crafts = [cell for cell in cells if isinstance(cell, CraftCell)]
    assert {(cell.label, cell.eps) for cell in crafts} == {
        (label, eps) for label in ("PGD", "MI-DI") for eps in (2 / 255, 5.1 / 255)
    }
    assert {source.name for cell in crafts for source, _ in cell.sources} == {"VGG-16"}
    tried = [cell for cell in cells if isinstance(cell, TransferCell)]
    assert len(tried) == len(crafts) * (len(common.networks) - 1)
    (check,) = (cell for cell in cells if isinstance(cell, CheckCell) and "VGG-16" in cell.name)
    assert {key_of(cell) for cell in check.inputs} == {key_of(cell) for cell in crafts}
    # VGG-16 and VGG-OPU are those of the other families, and trained once.
    ordinary = {cell.name: key_of(cell) for cell in planned("cifar10", "ordinary")[1] if cell.kind == "train"}
    assert ordinary == {cell.name: key_of(cell) for cell in cells if cell.name in ("VGG-16", "VGG-OPU")}


def test_an_attack_that_is_weak_on_its_own_network_fails_its_check():
    def crafted(eps, fooled, label="PGD"):
        record = made(CRAFT)
        config = {**record.config, "eps": eps, "label": label}
        return replace(record, config=config, result={**record.result, "n_images": 100, "fooled": fooled, "right": 100})

    weak_in_one_repeat = [crafted(0.02, 99), crafted(0.02, 50), crafted(0.01, 30)]
    found = credits._source_fooled(weak_in_one_repeat)
    assert (found.passed, found.value) == (False, {"PGD": 0.5})
    assert credits._source_fooled([crafted(0.02, 97), crafted(0.02, 95, "MI-DI"), crafted(0.01, 30)]).passed
    assert not credits._source_fooled([crafted(0.02, 86)]).passed, "that chance might explain it is not enough"


def test_the_other_families_leave_the_cells_before_them_as_they_are():
    config, before = planned("cifar10", "ordinary", "adversarial", "trades", "smoothed")
    more = study.cells(replace(config, families=DefencesConfig.families, repeats=2, once=()), tiny.pictures("cifar10"))
    # But for the checks, which are over all certificates.
    keys = [key_of(cell) for cell in before if cell.kind != "check"]
    assert set(keys) <= {key_of(cell) for cell in more}
    later = {repeat_of(cell.name) for cell in more if cell.kind == "train"}
    assert {("ViT-OPU", 0), ("ViT-OPU", 1), ("VGG-OPU bp without layer", 1)} <= later


def test_families_of_one_repeat_are_those_of_the_first():
    config, pictures = planned("cifar10", "ordinary", "architectures", "credits")[0], tiny.pictures("cifar10")
    every = replace(config, repeats=2, once=())
    planned_twice = {key_of(cell): cell for cell in study.cells(every, pictures)}
    once = {key_of(cell): cell for cell in study.cells(replace(every, once=("architectures", "credits")), pictures)}
    dropped = [planned_twice[key] for key in planned_twice.keys() - once.keys()]
    # Checks are over what there is.
    assert {cell.kind for cell in (once[key] for key in once.keys() - planned_twice.keys())} <= {"check"}
    assert {repeat_of(cell.name) for cell in once.values() if cell.kind == "train"} == {
        *((cell.name, 0) for cell in planned("cifar10", *config.families)[1] if cell.kind == "train"),
        *((cell.name, 1) for cell in planned("cifar10", "ordinary")[1] if cell.kind == "train"),
    }
    assert {"ViT-OPU", "VGG-OPU bp"} <= {repeat_of(cell.name)[0] for cell in dropped if cell.kind == "train"}
    with pytest.raises(ValueError, match="architecture"):
        replace(config, once=("architecture",))


def test_estimates_know_the_architecture_of_a_network_and_of_its_features():
    _, cells = planned("cifar100", "ordinary", "architectures")
    plan = Plan.of(cells)
    found = {cell.name: Below(plan, plan.units[key_of(cell)]) for cell in cells if cell.kind in ("train", "audit")}
    for name, architecture in (("VGG-OPU", "vgg16"), ("ResNet-18-OPU", "resnet18"), ("ViT-OPU", "vit")):
        assert found[name].architecture == architecture
        assert found[f"audit of {name} (L-inf 8/255)"].architecture == architecture
    assert found["ResNet-18"].size > 1.5 * found["VGG-16"].size
    assert found["ViT"].width == pytest.approx(1 / 6)
    # An attack on VGG-16 has kernels of its own; its training has none.
    assert found["ViT"].trained_size < found["ViT"].size
    assert found["VGG-16"].trained_size == found["VGG-16"].size


@pytest.mark.slow
def test_a_transformer_in_two_stages(tmp_path, monkeypatch):
    vit = replace(study._VIT, epochs=2, batch_size=20)
    make = tiny.maker(
        DefencesConfig, families=("architectures",), repeats=1, vit=vit, classifier=replace(FINE_TUNING, epochs=2)
    )
    tiny.enter(monkeypatch, "defences", make, cells=lambda config, data: with_inputs(study.defences(config, data)[3:]))
    tiny.run("defences", tmp_path / "run")
    network = tiny.network(tmp_path / "run", "ViT-OPU")
    assert isinstance(network, DefendedNetwork)
    assert network.device is not None
    (placed,) = (one for one in Run.open(tmp_path / "run").entries(TRAIN) if one.name == "ViT-OPU")
    assert placed.result.features.name == "ViT-DFA"
    assert placed.result.clean.share > 0.2  # 0.1 by chance


@pytest.mark.slow
def test_a_signal_with_and_without_the_layer_under_transferred_images(tmp_path, monkeypatch):
    monkeypatch.setattr(credits, "SIGNALS", ("sign-symmetry",))
    make = tiny.maker(
        DefencesConfig,
        families=("credits",),
        repeats=1,
        radii=(),
        radii_l2=(),
        transfer_images=60,
        transfer_radii=(0.3,),
    )
    tiny.enter(monkeypatch, "defences", make)
    tiny.run("defences", tmp_path / "run")
    run = Run.open(tmp_path / "run")
    found = {(one.config.label, one.config.target): one.result for one in run.entries(TRANSFER)}
    names = [
        f"{name}{end}" for name in ("VGG-OPU", "VGG-OPU sign-symmetry", "VGG-OPU bp") for end in ("", " without layer")
    ]
    assert set(found) == {(label, name) for label in ("PGD", "MI-DI") for name in names}
    assert all(one.n_images == next(iter(found.values())).n_images > 30 for one in found.values())
    trained = {one.name: one for one in run.entries(TRAIN)}
    assert trained["VGG-OPU sign-symmetry"].config.credit == "sign-symmetry"
    assert trained["VGG-OPU without layer"].result.features.name == "VGG-OPU"
    assert trained["VGG-OPU without layer"].result.device is None
