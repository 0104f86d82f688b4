"""Networks by name: their libraries are stood in for, so that none needs to be installed or to download anything."""

import sys
from enum import Enum
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn

from groundglass.attacks import PGD, Linf
from groundglass.audit import AuditConfig, audit
from groundglass.core import DamagedFileError
from groundglass.core.imported import imported, library
from groundglass.models import load_model, predict_logits
from groundglass.models.preprocessing import Preprocessed, Preprocessing

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)
IMAGES = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    def __init__(self, num_classes=4, size=None):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 2, 3), nn.Linear(2, num_classes)
        if size is not None:
            self.image_size = size

    def forward(self, x):
        return self.fc(self.conv(x).relu().mean((2, 3)))


def published(**settings):
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return Net(**settings)


class Asked(list):
    """What a library was asked to make."""


@pytest.fixture
def asked(monkeypatch):
    """timm, torchvision and robustbench, as far as they are used; `asked.offline` is the error of a download."""
    asked = Asked()
    asked.offline = None

    def make(name, kind, fetch, **given):
        asked.append((name, given))
        if fetch and asked.offline:
            raise asked.offline
        return (published if fetch else Net)(
            **{key: value for key, value in given.items() if key in ("num_classes", "size")}
        )

    def module(name, **values):
        made = ModuleType(name)
        vars(made).update(values)
        monkeypatch.setitem(sys.modules, name, made)
        return made

    def timm_model(name, pretrained=False, **given):
        if unknown := given.keys() - {"num_classes", "img_size"}:
            raise TypeError(f"__init__() got an unexpected keyword argument {unknown.pop()!r}")
        made = make(name, "timm", pretrained, **given)
        made.pretrained_cfg = {"fixed_input_size": name.startswith("vit")}
        return made

    config = {"mean": MEAN, "std": STD, "input_size": (3, 8, 8)}
    module(
        "timm",
        create_model=timm_model,
        list_models=lambda: ["resnet18", "vit_tiny"],
        is_model=lambda name: name in ("resnet18", "vit_tiny"),
        get_pretrained_cfg=lambda name: SimpleNamespace(hf_hub_id=None, url=f"web/{name}.pth"),
    )
    module("timm.data", resolve_model_data_config=lambda network: config)

    weights = Enum("W", {"IMAGENET1K_V1": 1, "IMAGENET1K_V2": 2})
    weights.DEFAULT = weights.IMAGENET1K_V2
    for one in weights:
        mean = MEAN if one is weights.DEFAULT else (0.1, 0.1, 0.1)
        one.transforms = lambda mean=mean: SimpleNamespace(mean=mean, std=STD, crop_size=[8])
        one.url = f"web/{one.name}.pth"
    vision = module(
        "torchvision.models",
        get_model=lambda name, weights=None, **given: make(
            name, "torchvision", weights is not None, weights=weights, **given
        ),
        list_models=lambda module: ["inception_v3", "resnet18"],
        get_model_weights=lambda name: weights,
    )
    module("torchvision", models=vision)

    data = Enum("Data", {"a": "cifar10", "b": "cifar100"})
    threats = Enum("Threats", {"a": "Linf", "b": "L2"})
    entry = {"model": published, "gdrive_id": "1abc"}
    several = {"model": published, "gdrive_id": ["1a", "1b"]}
    module("robustbench")
    module("robustbench.model_zoo")
    module("robustbench.model_zoo.enums", BenchmarkDataset=data, ThreatModel=threats)
    module(
        "robustbench.model_zoo.models",
        model_dicts={data.a: {threats.a: {"Carmon": entry, "Several": several}}, data.b: {threats.b: {"Other": entry}}},
    )

    def zoo(name, model_dir="models", dataset=None, threat_model=None):
        path = Path(model_dir) / dataset / threat_model / f"{name}.pt"
        asked.append((name, {"dataset": dataset, "threat_model": threat_model, "there": path.is_file()}))
        if not path.is_file() and asked.offline:
            raise asked.offline
        made = Net()
        made.load_state_dict(torch.load(path, weights_only=True) if path.is_file() else published().state_dict())
        return made

    module("robustbench.utils", load_model=zoo)
    return asked


def normalised(network, images, mean=MEAN, std=STD):
    shift, scale = (torch.tensor(values).view(1, 3, 1, 1) for values in (mean, std))
    return network.eval()((images - shift) / scale)


@pytest.mark.parametrize("name", ["timm:resnet18", "torchvision:resnet18"])
def test_a_published_network_has_its_preprocessing_inside(asked, name):
    model = load_model(name)
    assert not any(module.training for module in model.modules())
    assert torch.allclose(model(IMAGES), normalised(published(), IMAGES), atol=1e-6)
    other = load_model(name, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    assert torch.allclose(other(IMAGES), published()(IMAGES), atol=1e-6)


@pytest.mark.parametrize("name", ["timm:resnet18", "torchvision:resnet18"])
def test_weights_of_a_file_or_fresh_ones_are_not_downloaded(asked, name, tmp_path):
    asked.offline = OSError("Name or service not known")
    torch.save(
        {"state_dict": {f"module.{k}": v for k, v in published(num_classes=7).state_dict().items()}}, tmp_path / "w.pt"
    )
    model = load_model(name, arguments={"num_classes": 7}, weights=tmp_path / "w.pt")
    assert torch.allclose(model(IMAGES), normalised(published(num_classes=7), IMAGES), atol=1e-6)
    drawn = torch.get_rng_state()
    one, two = (load_model(name, weights="random") for _ in range(2))
    assert torch.equal(one(IMAGES), two(IMAGES)), "a network that is named again is the same"
    assert not torch.equal(one(IMAGES), normalised(published(), IMAGES))
    assert torch.equal(torch.get_rng_state(), drawn)
    with pytest.raises(ValueError, match=r"another network|another shape"):
        load_model(name, weights=tmp_path / "w.pt")
    (tmp_path / "w.pt").write_bytes(b"nothing")
    with pytest.raises(DamagedFileError):
        load_model(name, weights=tmp_path / "w.pt")
    with pytest.raises(FileNotFoundError, match="no weights file"):
        load_model(name, weights=tmp_path / "none.pt")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("timm:resnet18", "get web/resnet18.pth and give it as weights .--weights FILE"),
        ("torchvision:resnet18", "web/IMAGENET1K_V2.pth.*checkpoints"),
        ("robustbench:Carmon", "1abc of Google Drive .*--weights FILE.*models/cifar10/Linf as Carmon.pt"),
        ("robustbench:cifar100/L2/Other", "models/cifar100/L2 as Other.pt"),
        ("robustbench:Several", "models/cifar10/Linf: 1a as Several.pt_m0.pt, 1b as Several.pt_m1.pt"),
    ],
)
def test_where_nothing_can_be_downloaded_the_file_is_named(asked, name, told):
    asked.offline = OSError("Name or service not known")
    with pytest.raises(FileNotFoundError, match=told):
        load_model(name)


def test_torchvisions_other_weights_have_their_own_preprocessing(asked):
    model = load_model("torchvision:resnet18", arguments={"weights": "IMAGENET1K_V1"})
    assert asked == [("resnet18", {"weights": "IMAGENET1K_V1"})]
    assert torch.allclose(model(IMAGES), normalised(published(), IMAGES, mean=(0.1, 0.1, 0.1)), atol=1e-6)


def test_an_inception_without_a_download_computes_what_the_published_one_does(asked):
    load_model("torchvision:inception_v3", weights="random")
    assert asked[0][1]["transform_input"] is True


def test_robustbench_reads_its_own_files(asked, tmp_path):
    torch.save(published().state_dict(), tmp_path / "mine.pt")
    asked.offline = OSError("no")
    model = load_model("robustbench:Linf/Carmon", weights=tmp_path / "mine.pt")
    assert torch.equal(model(IMAGES), published()(IMAGES))  # what it needs in front is inside
    assert asked == [("Carmon", {"dataset": "cifar10", "threat_model": "Linf", "there": True})]
    with pytest.raises(ValueError, match="several files"):
        load_model("robustbench:Several", weights=tmp_path / "mine.pt")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("timm:resnet19", "did you mean 'resnet18'"),
        ("torchvision:resnet19", "did you mean 'resnet18'"),
        ("robustbench:Carman", "did you mean 'Carmon'"),
        ("robustbench:L3/Carmon", "data set or threat model"),
        ("hub:resnet18", "owner/repository"),
        ("resnet18", "timm:resnet18, torchvision:resnet18"),
        ("timmm:resnet18", "no module 'timmm'"),
    ],
)
def test_a_slip_in_a_name_is_told(asked, name, told):
    with pytest.raises((ValueError, FileNotFoundError), match=told):
        load_model(name)


def test_arguments_that_are_not_taken_are_told(asked):
    with pytest.raises(ValueError, match="depth"):
        load_model("timm:resnet18", arguments={"depth": 3})
    with pytest.raises(ValueError, match="give both"):
        load_model("timm:resnet18", mean=MEAN)


@pytest.mark.parametrize("name", ["timm:resnet18", "torchvision:resnet18", "robustbench:Carmon"])
def test_a_library_that_is_missing_is_named_with_the_line_to_type(monkeypatch, name):
    module = name.partition(":")[0]
    for known in [one for one in sys.modules if one.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, known)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=rf"pip install {module}"):
        load_model(name)


def test_a_library_that_fails_when_it_is_imported_is_told(tmp_path, monkeypatch):
    (tmp_path / "made_for_another_torch.py").write_text("raise RuntimeError('operator does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"operator does not exist.*pip install --upgrade torch made_for"):
        library("made_for_another_torch", "x:y")
    (tmp_path / "of_parts").mkdir()
    (tmp_path / "of_parts" / "inner.py").write_text("raise RuntimeError('operator does not exist')")
    with pytest.raises(ValueError, match=r"pip install --upgrade torch of_parts$"):
        library("of_parts.inner", "x:y")


def test_sizes_are_checked_as_the_network_needs_it(asked):
    small = IMAGES[..., :6, :6]
    with pytest.raises(ValueError, match="8 x 8, and these have 6 x 6: give such"):
        load_model("timm:vit_tiny")(small)
    assert load_model("timm:vit_tiny", arguments={"img_size": 6})(small).shape == (6, 4)
    assert load_model("timm:resnet18", weights="random")(small).shape == (6, 4)
    model = load_model("timm:resnet18")
    with pytest.warns(RuntimeWarning, match="8 x 8, and these have 6 x 6"):
        assert model(small).shape == (6, 4)
    with pytest.raises(ValueError, match="mean and std of each"):
        model(IMAGES[:, :1])


def test_preprocessing_has_one_value_a_channel():
    with pytest.raises(ValueError, match="one value a channel"):
        Preprocessing(mean=(0.5,), std=(0.5, 0.5))
    with pytest.raises(ValueError, match="std"):
        Preprocessing(mean=(0.5,), std=(0.0,))


HUB = """
dependencies = ["torch"]
from tests.models.test_named import published

def plain(**given):
    return published(**given)

def told(**given):
    made = published(**given)
    made.default_cfg = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.25)}
    return made
"""


def test_torch_hub_and_a_network_that_says_nothing_of_its_images(tmp_path, monkeypatch):
    (tmp_path / "hubconf.py").write_text(HUB)
    monkeypatch.chdir(tmp_path.parent)
    model = load_model(f"hub:{tmp_path.name}:told", arguments={"num_classes": 3})
    assert torch.allclose(model(IMAGES), normalised(published(num_classes=3), IMAGES), atol=1e-6)
    with pytest.raises(ValueError, match=r"give its mean and std.*mean=\(0, 0, 0\)"):
        load_model(f"hub:{tmp_path.name}:plain")
    model = load_model(f"hub:{tmp_path.name}:plain", mean=MEAN, std=STD)
    assert torch.allclose(model(IMAGES), normalised(published(), IMAGES), atol=1e-6)


def test_torch_hub_without_a_network(monkeypatch):
    def offline(*asked, **given):
        raise RuntimeError("It looks like there is no internet connection and the repo could not be found in the cache")

    monkeypatch.setattr(torch.hub, "load", offline)
    with pytest.raises(FileNotFoundError, match="copy of the repository me/mine and name it, as hub:FOLDER:net"):
        load_model("hub:me/mine:net")

    def asks(*asked, **given):
        raise EOFError

    monkeypatch.setattr(torch.hub, "load", asks)
    with pytest.raises(ValueError, match="trust_repo=True"):
        load_model("hub:me/mine:net")


def test_a_function_of_a_file(tmp_path, monkeypatch):
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "json.py").write_text(
        "import beside\n\ndef net(classes=4):\n    return beside.published(num_classes=classes)\n"
    )
    (tmp_path / "nets" / "beside.py").write_text("from tests.models.test_named import published\n")
    monkeypatch.chdir(tmp_path)
    model = load_model("nets/json.py:net", arguments={"classes": 5})
    assert torch.equal(model(IMAGES), published(num_classes=5)(IMAGES))
    assert sys.modules["json"].loads("1") == 1, "a file hides no library of its name"
    torch.save(published().state_dict(), tmp_path / "w.pt")
    model = load_model("nets/json.py:net", weights="w.pt", mean=MEAN, std=STD)
    assert torch.allclose(model(IMAGES), normalised(published(), IMAGES), atol=1e-6)
    for name, told in (
        ("nets/none.py:net", "no file"),
        ("nets/json.py:nat", "did you mean 'net'"),
        ("nets/json.py:net()", "is not package.module:factory or file.py:factory"),
    ):
        with pytest.raises(ValueError, match=told):
            load_model(name)
    with pytest.raises(ValueError, match="depth"):
        load_model("nets/json.py:net", arguments={"depth": 3})
    assert imported("factory", "nets/json.py:net") is not imported("factory", "tests.models.test_named:published")


def test_attacks_and_audits_take_a_name(asked):
    labels = predict_logits(load_model("timm:resnet18"), IMAGES).argmax(1)
    attack, ball = PGD(steps=2, step_size=0.02), Linf(0.05)
    named, given = (attack(one, IMAGES, labels, ball) for one in ("timm:resnet18", load_model("timm:resnet18")))
    assert torch.equal(named.adversarial, given.adversarial)
    few = AuditConfig(steps=2, queries=5, query_images=2, probes=4)
    assert audit("timm:resnet18", IMAGES, labels, ball, config=few).clean.share == 1


def test_a_scripted_network_can_stand_behind_its_preprocessing():
    inner = torch.jit.freeze(torch.jit.script(published().eval()))
    model = Preprocessed(inner, Preprocessing(mean=MEAN, std=STD), name="mine").eval()
    assert torch.allclose(predict_logits(model, IMAGES), normalised(published(), IMAGES), atol=1e-5)
