from dataclasses import replace

import pytest

from groundglass.core.statistics import Proportion
from groundglass.optics import DeviceStore
from groundglass.results.kinds import ATTACK, AUDIT, CERTIFY, DEVICE, TRAIN
from groundglass.studies.engine.cell import key_of
from groundglass.studies.layer.study import VARIANTS, Variant, cells
from groundglass.studies.white_box.study import cells as white_box_cells
from groundglass.training.classifier import FINE_TUNING
from tests.results.examples import made
from tests.studies.contract import Contract
from tests.studies.tiny import DATA, MAKERS, layer, network, targets, white_box

pytestmark = pytest.mark.slow

STUDY = "layer"
CONFIG = layer()


def certified(broken, outside=30):
    shares = {"n_images": 60, "right": Proportion(50, 60), "attacked": 40, "broken": broken, "outside": outside}
    return made(CERTIFY, {"model": "layer standard"}, shares)


class TestContract(Contract):
    study, stop_at = STUDY, "audit of layer standard"
    told = (([certified(0)], [certified(1)]), ([certified(0, outside=30)], [certified(0, outside=2)]))
    refused = (
        ({"variants": (Variant(power=1), Variant(power=1.0))}, "p=1"),
        ({"certified": ("2 bits",)}, "2 bits"),
        ({"variants": ()}, "noise 32"),
    )


def test_each_layer_is_what_its_name_says_and_has_a_control_on_what_enters_it(finished):
    trained = {e.name: e for e in finished.entries(TRAIN)}
    layers = [one.label for one in CONFIG.layers]
    assert layers == ["standard", "noise 32, threshold at zero", "p=4, 1 bit, N=24"]
    controls = {"no layer, bits", "no layer, bits-zero", "no layer, bits, N=24"}
    assert set(trained) == {"VGG-OPU", "VGG-OPU N=24", *controls, *(f"layer {name}" for name in layers)}
    devices, store = {e.key: e.config for e in finished.entries(DEVICE)}, DeviceStore(finished.folder / "devices")
    for variant in CONFIG.layers:
        entry = trained[f"layer {variant.label}"]
        assert entry.result.clean_accuracy > 0.5
        (device,) = (devices[key] for key in entry.inputs if key in devices)
        held = store.find(entry.result.device.fingerprint)
        assert held.camera.power == device.camera.power == (variant.power or 2)
        assert held.camera.bits == device.camera.bits == (variant.bits or 8)
        assert held.camera.read_noise == (variant.read_noise or 0)
        assert held.in_features == (variant.inputs or CONFIG.device_in)
        assert network(finished.folder, entry.name).block.encoding == (variant.encoding or "bits")
    # The same features, bit for bit.
    own, none = (network(finished.folder, name) for name in ("layer standard", "no layer, bits"))
    images = DATA.test.floats()[:5]
    assert own.features(images).equal(none.features(images))
    assert none.device is None


def test_every_network_is_audited_and_layers_are_attacked_by_who_knows_u(finished):
    audited = {e.config.model for e in finished.entries(AUDIT)}
    names = {e.name for e in finished.entries(TRAIN) if not e.name.startswith("VGG")}
    assert audited == names
    assert {e.config.model for e in finished.entries(ATTACK)} == {name for name in names if name.startswith("layer")}
    balls = {
        (cell.norm, cell.eps)
        for cell in cells(replace(CONFIG, eps_l2=(0.5,)), DATA)
        if cell.kind in ("audit", "attack")
    }
    assert balls == {("linf", 0.1), ("l2", 0.5)}
    noisy = {e.config.confirmations for e in finished.entries(ATTACK) if "noise" in e.config.model}
    assert noisy == {3}


def test_a_layer_and_its_control_are_certified_on_the_same_images(finished):
    found = {e.config.model: e for e in finished.entries(CERTIFY)}
    names = [f"layer {name}" for name in CONFIG.certified] + ["no layer, bits-zero"]
    assert sorted(found) == sorted(names)
    assert all(entry.arrays()["index"].tolist() == list(range(CONFIG.certify_images)) for entry in found.values())


def test_the_features_are_those_of_the_white_box_study(finished):
    shared = {key_of(cell) for cell in white_box_cells(replace(white_box(), **targets()), DATA) if cell.kind == "train"}
    assert {e.key for e in finished.entries(TRAIN) if e.name == "VGG-OPU"} <= shared
    stages = {cell.name for cell in cells(replace(CONFIG, classifier=FINE_TUNING), DATA) if cell.kind == "train"}
    assert {"VGG-DFA", "VGG-DFA N=24"} < stages
    assert not {"VGG-OPU", "VGG-OPU N=24"} & stages


@pytest.mark.parametrize(
    ("variant", "label"),
    [
        (Variant(bits=0), "float readings"),
        (Variant(bits=2, saturation=0.1, outputs=512), "2 bits, M=512"),
        (Variant(saturation=0.1), "saturation 0.1"),
        (Variant(encoding="float", power=3.5), "p=3.5, float inputs"),
    ],
)
def test_a_layer_is_named_by_what_differs(variant, label):
    assert variant.label == label


def test_the_layers_of_the_study_have_names_and_devices_of_their_own():
    config = replace(CONFIG, variants=VARIANTS, certified=())
    planned = {cell.name: cell for cell in cells(config, DATA) if cell.kind == "train"}
    layers = [cell for name, cell in planned.items() if name.startswith("layer ")]
    assert len(layers) == len(VARIANTS) + 1
    assert len({(cell.device, cell.encoding) for cell in layers}) == len(layers)
    assert MAKERS[STUDY] is layer
