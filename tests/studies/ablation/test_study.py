from dataclasses import replace

import pytest
import torch

from groundglass.models import DefendedNetwork
from groundglass.optics import FloatInputLayer
from groundglass.results import Run
from groundglass.results.kinds import ATTACK, CRAFT, QUERY, TRAIN, TRANSFER
from groundglass.studies.ablation.study import cells
from groundglass.training.classifier import FINE_TUNING
from tests.studies.contract import Contract
from tests.studies.tiny import DATA, SIZES, ablation, enter, network, run

pytestmark = pytest.mark.slow

STUDY = "ablation"
#: Of the run in two stages; the first has one radius.
EPS = (0.2, 0.6)
VARIANTS = ("OPU batch threshold", "OPU float output", "OPU real U", "OPU M=50", "OPU N=24")
OPU_RULES = {"dfa", "bpda-fit-linear", "exact"}
RULES = {"VGG-16": {"bp"}, "DFA": {"dfa", "bp"}, "BIN": {"dfa", "ste", "bpda-fit-linear"}, "RP": OPU_RULES}


class TestContract(Contract):
    study, stop_at = STUDY, "MI-DI on"


@pytest.fixture(scope="module")
def staged(finished, tmp_path_factory):
    """The same in the paper's two stages, with the networks that both have taken over; audits, which take long, aside."""
    folder = tmp_path_factory.mktemp("runs") / "staged"
    with pytest.MonkeyPatch.context() as patch:
        enter(
            patch,
            STUDY,
            lambda *asked: replace(ablation(*asked), classifier=FINE_TUNING, eps_paper=EPS),
            cells=lambda config, data: [cell for cell in cells(config, data) if cell.kind != "audit"],
        )
        run(STUDY, folder, reuse=[finished.folder])
    return Run.open(folder)


@pytest.fixture(params=["finished", "staged"])
def either(request):
    return request.getfixturevalue(request.param)


def test_every_network_meets_every_attack(either):
    trained = {e.name for e in either.entries(TRAIN)}
    rules = RULES | dict.fromkeys({"OPU", *VARIANTS} | ({"OPU refitted"} & trained), OPU_RULES)
    radii = {e.config.eps_paper for e in either.entries(CRAFT)}
    assert radii == set(either.manifest["config"]["eps_paper"])
    white = {(e.config.model, e.config.rule, e.config.eps_paper) for e in either.entries(ATTACK)}
    assert white == {(model, rule, eps) for model, named in rules.items() for rule in named for eps in radii}
    asked = {(e.config.model, e.config.attack) for e in either.entries(QUERY)}
    assert asked == {(model, attack) for model in rules for attack in ("Square", "Bandits")}
    tried = {(e.config.target, e.config.label, e.config.eps_paper) for e in either.entries(TRANSFER)}
    assert tried == {(model, label, eps) for model in rules for label in ("PGD", "MI-DI") for eps in radii}


def test_each_network_is_what_its_name_says(either):
    """By what each answers, not by how it is described: its bits, its device, its threshold."""
    names = [e.name for e in either.entries(TRAIN) if e.name != "VGG-16 source"]
    nets = {name: network(either.folder, name) for name in names}
    images = DATA.test.floats(slice(0, 8))
    assert not isinstance(nets.pop("VGG-16"), DefendedNetwork)
    entering = {name: net.observe(images)[0] for name, net in nets.items()}
    binary = {name for name, x in entering.items() if bool(((x == 0) | (x == 1)).all())}
    dfa = {name for name in nets if name.startswith("DFA")}
    assert set(nets) - binary == {"RP", *dfa}
    assert {name for name, net in nets.items() if net.device is None} == {"BIN", *dfa}
    assert isinstance(nets["RP"].block.optical, FloatInputLayer)
    devices = {name: net.device for name, net in nets.items() if net.device}
    sizes = {name: (device.in_features, device.out_features) for name, device in devices.items()}
    others = {name: size for name, size in sizes.items() if size != SIZES}
    assert others == {"OPU M=50": (48, 50), "OPU N=24": (24, 96)}
    assert {name for name, device in devices.items() if device.camera.bits is None} == {"OPU float output"}
    assert {name for name, device in devices.items() if device.matrix == "real"} == {"OPU real U"}
    # A threshold of the sample's own: no image's bits depend on the others; with the batch's mean they do.
    for name in binary:
        alone = torch.cat([nets[name].observe(image[None])[0] for image in images])
        assert torch.equal(alone, entering[name]) == (name != "OPU batch threshold"), name


def test_networks_learn_on_the_features_of_one(finished, staged):
    for run_of, of in ((finished, "OPU"), (staged, "DFA")):
        trained = {e.name: e.result for e in run_of.entries(TRAIN)}
        assert all(result.clean_accuracy > 0.8 for result in trained.values())
        shared = {name: result.features.name for name, result in trained.items() if result.features}
        assert shared["OPU real U"] == of
        assert ("BIN" in shared) == (of == "DFA")
