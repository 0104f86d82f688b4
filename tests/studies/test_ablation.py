from dataclasses import replace

import pytest
import torch

from groundglass.models import DefendedNetwork
from groundglass.optics import FloatInputLayer
from groundglass.studies import AblationConfig
from groundglass.studies.ablation.study import cells
from groundglass.training.classifier import FINE_TUNING

from .pictures import pictures
from .tiny import enter, network, records, run, targets

DATA = pictures("shapes", n_train=400, n_test=40)
EPS = (0.2, 0.6)
VARIANTS = ("OPU batch threshold", "OPU float output", "OPU real U", "OPU M=50", "OPU N=24")
RULES = {
    "VGG-16": {"bp"},
    "DFA": {"dfa", "bp"},
    "BIN": {"dfa", "ste", "bpda-fit-linear"},
    "RP": {"dfa", "bpda-fit-linear", "exact"},
}
OPU_RULES = RULES["RP"]


def tiny_ablation(data, seed, precision):
    return AblationConfig(
        **targets(data, seed, precision),
        n_images=30,
        inputs=(24,),
        outputs=(50,),
        eps_paper=EPS,
        steps=4,
        fit_images=60,
        query_images=6,
        query_eps=0.2,
        budget=20,
    )


def staged(data, seed, precision):
    return replace(tiny_ablation(data, seed, precision), classifier=FINE_TUNING)


@pytest.fixture(scope="module", params=[tiny_ablation, staged], ids=["whole", "staged"])
def finished(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        enter(patch, "ablation", request.param, cells, DATA)
        run("ablation", folder)
    return folder


def test_every_network_meets_every_attack(finished):
    trained = {r.name for r in records(finished, "train")}
    opus = {"OPU", *VARIANTS} | ({"OPU refitted"} & trained)
    white = {(r.config["model"], r.config["rule"], r.config["eps_paper"]) for r in records(finished, "attack")}
    rules = RULES | dict.fromkeys(opus, OPU_RULES)
    assert white == {(model, rule, eps) for model, named in rules.items() for rule in named for eps in EPS}
    asked = {(r.config["model"], r.config["attack"]) for r in records(finished, "query")}
    assert asked == {(model, attack) for model in rules for attack in ("Square", "Bandits")}
    tried = {(r.config["target"], r.config["label"], r.config["eps_paper"]) for r in records(finished, "transfer")}
    assert tried == {(model, label, eps) for model in rules for label in ("PGD", "MI-DI") for eps in EPS}
    made = [r for kind in ("attack", "query", "craft", "transfer") for r in records(finished, kind)]
    assert {r.config["purpose"] for r in made} == {"ablation"}


def test_each_network_is_what_its_name_says(finished):
    """By what each answers, not by how it is described: its bits, its device, its threshold."""
    nets = {r.name: network(finished, r.name) for r in records(finished, "train") if r.name != "VGG-16 source"}
    images = DATA.test.floats(slice(0, 8))
    assert not isinstance(nets.pop("VGG-16"), DefendedNetwork)
    entering = {name: net.observe(images)[0] for name, net in nets.items()}
    binary = {name for name, x in entering.items() if bool(((x == 0) | (x == 1)).all())}
    assert set(nets) - binary == {"DFA", "RP", *(n for n in nets if n.startswith("DFA N="))}
    assert {name for name, net in nets.items() if net.device is None} == {"BIN"} | {
        n for n in nets if n.startswith("DFA")
    }
    assert isinstance(nets["RP"].block.optical, FloatInputLayer)
    sizes = {name: (net.device.in_features, net.device.out_features) for name, net in nets.items() if net.device}
    assert {name: size for name, size in sizes.items() if size != (48, 96)} == {
        "OPU M=50": (48, 50),
        "OPU N=24": (24, 96),
    }
    assert {n for n, net in nets.items() if net.device and net.device.camera.bits is None} == {"OPU float output"}
    assert {n for n, net in nets.items() if net.device and net.device.matrix == "real"} == {"OPU real U"}
    # A threshold of the sample's own: no image's bits depend on the others; with the batch's mean they do.
    for name in binary:
        alone = torch.cat([nets[name].observe(image[None])[0] for image in images])
        assert torch.equal(alone, entering[name]) == (name != "OPU batch threshold"), name


def test_networks_learn(finished):
    for record in records(finished, "train"):
        assert record.result["clean_accuracy"] > 0.8, record.name
    staged_run = not any(r.name == "OPU refitted" for r in records(finished, "train"))
    shared = {r.name: r.result["features"]["name"] for r in records(finished, "train") if "features" in r.result}
    assert shared["OPU real U"] == ("DFA" if staged_run else "OPU")
    assert ("BIN" in shared) == staged_run


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="query_images"):
        replace(tiny_ablation("shapes", 0, "float32"), query_images=0)
    with pytest.raises(ValueError, match="normalised"):
        replace(tiny_ablation("shapes", 0, "float32"), eps_paper=(8.0,))
