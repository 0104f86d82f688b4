"""The README examples of the five peers, as they are but for what they import."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from groundglass.attacks import Linf
from groundglass.compat.robustbench import utils as robustbench_utils
from groundglass.compat.robustbench.eval import benchmark
from groundglass.data import registry
from tests.attacks.toy import problem
from tests.data.conftest import TINY, write_layout

MODEL, IMAGES, LABELS = problem(14, classes=5)
EPS = 0.15  # all fall, so that Square's thousands of queries are not asked

OURS = {
    "torchattacks": "groundglass.compat.torchattacks",
    "foolbox": "groundglass.compat.foolbox",
    "art": "groundglass.compat.art",
    "autoattack": "groundglass.compat.autoattack",
    "robustbench": "groundglass.compat.robustbench",
}

TORCHATTACKS = """
import torchattacks
atk = torchattacks.PGD(model, eps=8/255, alpha=2/255, steps=4)
# If, images are normalized:
# atk.set_normalization_used(mean=[...], std=[...])
adv_images = atk(images, labels)

# random labels as target labels.
atk.set_mode_targeted_random()
random_targets = atk(images, labels)
atk.set_mode_default()

atk1 = torchattacks.FGSM(model, eps=8/255)
atk2 = torchattacks.PGD(model, eps=8/255, alpha=2/255, steps=40, random_start=True)
atk = torchattacks.MultiAttack([atk1, atk2])
both = atk(images, labels)
"""

FOOLBOX = """
import foolbox as fb

fmodel = fb.PyTorchModel(model, bounds=(0, 1))

attack = fb.attacks.LinfPGD()
epsilons = [0.0, 0.001, 0.01, 0.03, 0.1, 0.3, 0.5, 1.0]
_, advs, success = attack(fmodel, images, labels, epsilons=epsilons)
"""

ART = """
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
import numpy as np

from art.attacks.evasion import FastGradientMethod
from art.estimators.classification import PyTorchClassifier
from art.utils import load_mnist


# Step 0: Define the neural network model, return logits instead of activation in forward method


class Net(nn.Module):
    def __init__(self):
        super(Net, self).__init__()
        self.conv_1 = nn.Conv2d(in_channels=1, out_channels=4, kernel_size=5, stride=1)
        self.conv_2 = nn.Conv2d(in_channels=4, out_channels=10, kernel_size=5, stride=1)
        self.fc_1 = nn.Linear(in_features=4 * 4 * 10, out_features=100)
        self.fc_2 = nn.Linear(in_features=100, out_features=10)

    def forward(self, x):
        x = F.relu(self.conv_1(x))
        x = F.max_pool2d(x, 2, 2)
        x = F.relu(self.conv_2(x))
        x = F.max_pool2d(x, 2, 2)
        x = x.view(-1, 4 * 4 * 10)
        x = F.relu(self.fc_1(x))
        x = self.fc_2(x)
        return x


# Step 1: Load the MNIST dataset

(x_train, y_train), (x_test, y_test), min_pixel_value, max_pixel_value = load_mnist()

# Step 1a: Swap axes to PyTorch's NCHW format

x_train = np.transpose(x_train, (0, 3, 1, 2)).astype(np.float32)
x_test = np.transpose(x_test, (0, 3, 1, 2)).astype(np.float32)

# Step 2: Create the model

model = Net()

# Step 2a: Define the loss function and the optimizer

criterion = nn.CrossEntropyLoss()
optimizer = optim.Adam(model.parameters(), lr=0.01)

# Step 3: Create the ART classifier

classifier = PyTorchClassifier(
    model=model,
    clip_values=(min_pixel_value, max_pixel_value),
    loss=criterion,
    optimizer=optimizer,
    input_shape=(1, 28, 28),
    nb_classes=10,
)

# Step 4: Train the ART classifier

classifier.fit(x_train, y_train, batch_size=64, nb_epochs=3)

# Step 5: Evaluate the ART classifier on benign test examples

predictions = classifier.predict(x_test)
accuracy = np.sum(np.argmax(predictions, axis=1) == np.argmax(y_test, axis=1)) / len(y_test)
print("Accuracy on benign test examples: {}%".format(accuracy * 100))

# Step 6: Generate adversarial test examples
attack = FastGradientMethod(estimator=classifier, eps=0.2)
x_test_adv = attack.generate(x=x_test)

# Step 7: Evaluate the ART classifier on adversarial test examples

predictions = classifier.predict(x_test_adv)
left = np.sum(np.argmax(predictions, axis=1) == np.argmax(y_test, axis=1)) / len(y_test)
print("Accuracy on adversarial test examples: {}%".format(left * 100))
"""

AUTOATTACK = """
from autoattack import AutoAttack
adversary = AutoAttack(forward_pass, norm='Linf', eps=epsilon, version='standard')

x_adv = adversary.run_standard_evaluation(images, labels, bs=batch_size)

dict_adv = adversary.run_standard_evaluation_individual(images, labels, bs=batch_size)

if version == 'custom':
    adversary.attacks_to_run = ['apgd-ce', 'fab']
    adversary.apgd.n_restarts = 2
    adversary.fab.n_restarts = 2
"""

ROBUSTBENCH = """
from robustbench.data import load_cifar10

x_test, y_test = load_cifar10(n_examples=6)

from robustbench.utils import load_model

model = load_model(model_name='Carmon2019Unlabeled', dataset='cifar10', threat_model='Linf')

import foolbox as fb
fmodel = fb.PyTorchModel(model, bounds=(0, 1))

_, advs, success = fb.attacks.LinfPGD()(fmodel, x_test.to(device), y_test.to(device), epsilons=[8/255])
print('Robust accuracy: {:.1%}'.format(1 - success[0].float().mean()))

from autoattack import AutoAttack
adversary = AutoAttack(model, norm='Linf', eps=8/255, version='custom', attacks_to_run=['apgd-ce', 'apgd-dlr'])
adversary.apgd.n_restarts = 1
x_adv = adversary.run_standard_evaluation(x_test, y_test)

from robustbench.utils import clean_accuracy
acc = clean_accuracy(model, x_test, y_test)

from robustbench.eval import benchmark
clean_acc, robust_acc = benchmark(model,
                                  dataset='cifar10',
                                  threat_model='Linf',
                                  n_examples=6)
"""


def run(text, **space):
    """The text, its imports changed; what it leaves."""
    for theirs, ours in OURS.items():
        for before, after in (
            (f"import {theirs}\n", f"import {ours} as {theirs}\n"),
            (f"import {theirs} as ", f"import {ours} as "),
            (f"from {theirs}", f"from {ours}"),
        ):
            text = text.replace(before, after)
    exec(compile(text, "readme", "exec"), space)
    return space


def right(model, images, labels):
    return float((model(images).argmax(1) == labels).float().mean())


def test_torchattacks():
    found = run(TORCHATTACKS, model=MODEL, images=IMAGES, labels=LABELS)
    for name in ("adv_images", "random_targets", "both"):
        assert bool(Linf(8 / 255).contains(found[name], IMAGES).all())
    assert (
        right(MODEL, found["both"], LABELS) <= right(MODEL, found["adv_images"], LABELS) < right(MODEL, IMAGES, LABELS)
    )


def test_foolbox():
    found = run(FOOLBOX, model=MODEL, images=IMAGES, labels=LABELS)
    share = found["success"].float().mean(1).tolist()
    assert share == sorted(share)
    assert share[0] == pytest.approx(1 - right(MODEL, IMAGES, LABELS))
    assert share[-1] == 1
    for x, fooled in zip(found["advs"], found["success"], strict=True):
        assert torch.equal(MODEL(x).argmax(1) != LABELS, fooled)


@pytest.fixture
def digits(tmp_path, monkeypatch):
    """mnist.npz as ART's file has it, small: a bright bar at a place of its own for each class, under noise."""
    draw = np.random.default_rng(0)

    def split(count):
        labels = np.arange(count) % 10
        x = draw.integers(0, 60, (count, 28, 28))
        for image, label in zip(x, labels, strict=True):
            image[2 * label + 3 : 2 * label + 6, 5:23] += 120
        return x.astype(np.uint8), labels.astype(np.uint8)

    (x_train, y_train), (x_test, y_test) = split(200), split(40)
    np.savez(tmp_path / "mnist.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    monkeypatch.setenv("GROUNDGLASS_DATA", str(tmp_path))


def test_art(digits, capsys):
    torch.manual_seed(0)
    found = run(ART)
    assert found["x_train"].shape == (200, 1, 28, 28)
    assert found["y_test"].shape == (40, 10)
    assert found["x_test_adv"].shape == found["x_test"].shape
    assert found["x_test_adv"].dtype == np.float32
    assert np.abs(found["x_test_adv"] - found["x_test"]).max() <= 0.2 + 1e-6
    assert found["accuracy"] > 0.5
    assert found["left"] < found["accuracy"] - 0.2
    assert "Accuracy on adversarial test examples" in capsys.readouterr().out


def test_autoattack(capsys):
    found = run(
        AUTOATTACK, forward_pass=MODEL, epsilon=EPS, images=IMAGES, labels=LABELS, batch_size=5, version="custom"
    )
    assert set(found["dict_adv"]) == {"apgd-ce", "apgd-t", "fab-t", "square"}
    for x in (found["x_adv"], *found["dict_adv"].values()):
        assert bool(Linf(EPS).contains(x, IMAGES).all())
        assert right(MODEL, x, LABELS) < 0.2
    told = capsys.readouterr().out
    assert "initial accuracy: 85.71%" in told
    assert "robust accuracy after APGD-CE" in told
    custom = found["adversary"]
    assert (custom.apgd.n_restarts, custom.fab.n_restarts) == (2, 2)
    custom.fab.n_iter = custom.apgd.n_iter = 5
    custom.run_standard_evaluation(IMAGES, LABELS, bs=5)
    assert "FAB" in capsys.readouterr().out


class Ten(nn.Module):
    """A linear network of ten classes."""

    def __init__(self):
        super().__init__()
        weight = torch.randn(10, 3 * 32 * 32, generator=torch.Generator().manual_seed(0)) / 55
        self.weight = nn.Parameter(weight)

    def forward(self, x):
        return (x - 0.5).flatten(1) @ self.weight.T


def test_robustbench(tmp_path, monkeypatch, capsys):
    folder = write_layout(TINY["cifar10"], tmp_path)
    monkeypatch.setattr(registry, "CIFAR10", TINY["cifar10"])
    pixels = np.random.default_rng(0).integers(0, 256, (6, 3072)).astype(np.uint8)
    labels = Ten()(torch.from_numpy(pixels).view(-1, 3, 32, 32).float() / 255).argmax(1).numpy().astype(np.uint8)
    (folder / "test_batch.bin").write_bytes(np.concatenate([labels[:, None], pixels], axis=1).tobytes())
    monkeypatch.setenv("GROUNDGLASS_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    asked = []
    monkeypatch.setattr(robustbench_utils, "_load", lambda name, **options: asked.append(name) or Ten().eval())
    found = run(ROBUSTBENCH, device="cpu")
    assert asked == ["robustbench:cifar10/Linf/Carmon2019Unlabeled"]
    assert found["x_test"].shape == (6, 3, 32, 32)
    assert found["acc"] == found["clean_acc"] == 1
    fooled = found["model"](found["x_adv"]).argmax(1) != found["y_test"]
    assert found["robust_acc"] <= 1 - float(fooled.float().mean())
    assert found["robust_acc"] < 0.5
    assert "Robust accuracy" in capsys.readouterr().out
    assert benchmark(found["model"], n_examples=6, threat_model="L2", eps=5, to_disk=True, model_name="ten") == (1, 0)
    assert json.loads((tmp_path / "model_info" / "cifar10" / "L2" / "ten.json").read_text())["autoattack_acc"] == 0
    for options, said in (
        ({"threat_model": "corruptions"}, "no corruptions"),
        ({"threat_model": "L1"}, "give eps="),
        ({"to_disk": True}, "model_name"),
        ({"dataset": "imagenet"}, "imagenet"),
        ({"dataset": "cifar100"}, "cifar-100-binary"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=said):
            benchmark(found["model"], **options)
