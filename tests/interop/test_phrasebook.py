"""Scripts of torchattacks and of foolbox run on our attacks when their import is changed, and find as much."""

import numpy as np
import pytest
import torch

import groundglass.compat.art.attacks.evasion as our_evasion
import groundglass.compat.autoattack as our_autoattack
import groundglass.compat.foolbox as our_foolbox
import groundglass.compat.torchattacks as our_torchattacks
from groundglass.attacks import L2, PGD, Linf, Targeted
from tests.attacks.toy import blobs, trained

_HOW = "is not installed: pip install -c constraints-dev.txt -e '.[interop]'"
foolbox = pytest.importorskip("foolbox", reason=f"foolbox {_HOW}")
eagerpy = pytest.importorskip("eagerpy", reason=f"eagerpy {_HOW}")
torchattacks = pytest.importorskip("torchattacks", reason=f"torchattacks {_HOW}")

IMAGES, LABELS = blobs(400, seed=5)
EPS = 0.02
# Two libraries with the same settings draw other random starts: points of 400 images, and a count of chance.
CLOSE = 0.01


def left(model, adversarial, labels=LABELS):
    return float((model(adversarial).argmax(1) == labels).float().mean())


@pytest.mark.one_in(5)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("FGSM", {"eps": EPS}),
        ("BIM", {"eps": EPS, "alpha": EPS / 4, "steps": 10}),
        ("PGD", {"eps": EPS, "alpha": EPS / 4, "steps": 10, "random_start": False}),
        ("PGDL2", {"eps": 0.3, "alpha": 0.06, "steps": 10, "random_start": False}),
        ("MIFGSM", {"eps": EPS, "alpha": EPS / 4, "steps": 10}),
        ("APGD", {"eps": EPS, "steps": 10}),
        ("CW", {"c": 1.0, "steps": 30, "lr": 0.01}),
    ],
)
@pytest.mark.parametrize("targeted", [False, True])
def test_torchattacks_calls_leave_as_much(name, options, targeted):
    found = {}
    for library in (torchattacks, our_torchattacks):
        torch.manual_seed(0)
        attack = getattr(library, name)(trained(), **options)
        if targeted:
            if name == "APGD":
                return  # theirs has none
            attack.set_mode_targeted_by_function(lambda images, labels: (labels + 1) % 3)
        adversarial = attack(IMAGES, LABELS)
        goal = LABELS if not targeted else (LABELS + 1) % 3
        found[library.__name__] = left(trained(), adversarial, goal)
        assert left(trained(), IMAGES, goal) != found[library.__name__]
        assert float(adversarial.min()) >= 0
        assert float(adversarial.max()) <= 1
    theirs, ours = found.values()
    # At most as much is left, or at least as much reached: ours keeps the best iterate, theirs the last.
    assert (ours - theirs if not targeted else theirs - ours) <= CLOSE, found
    if name != "CW":  # theirs has one c for all, and keeps what it last had
        assert abs(ours - theirs) <= CLOSE, found


@pytest.mark.parametrize(("norm", "ball"), [(np.inf, Linf(EPS)), (2, L2(0.3))])
def test_a_targeted_attack_reaches_as_many_as_arts(norm, ball):
    evasion = pytest.importorskip("art.attacks.evasion", reason=f"ART {_HOW}")
    classification = pytest.importorskip("art.estimators.classification")
    classifier = classification.PyTorchClassifier(
        trained(), torch.nn.CrossEntropyLoss(), (3, 8, 8), 3, clip_values=(0.0, 1.0), device_type="cpu"
    )
    target = (LABELS + 1) % 3
    attack = evasion.ProjectedGradientDescent(
        classifier, norm=norm, eps=ball.radius, eps_step=ball.radius / 4, max_iter=10, targeted=True, verbose=False
    )
    theirs = torch.from_numpy(attack.generate(IMAGES.numpy(), target.numpy()))
    ours = PGD(steps=10, step_size=ball.radius / 4)(trained(), IMAGES, LABELS, ball, criterion=Targeted(target))
    reached = float((trained()(ours.adversarial).argmax(1) == target).float().mean())
    assert reached == pytest.approx(left(trained(), theirs, target), abs=CLOSE)


def readme(torchattacks, model, images, labels, folder):
    """The blocks of torchattacks' own README, in their order."""
    atk = torchattacks.PGD(model, eps=8 / 255, alpha=2 / 255, steps=4)
    adv_images = atk(images, labels)
    atk.set_mode_targeted_random()
    atk(images, labels)
    atk.set_mode_targeted_least_likely(kth_min=1)
    atk(images, labels)
    atk.set_mode_targeted_by_function(target_map_function=lambda images, labels: (labels + 1) % 3)
    atk(images, labels)
    atk.set_mode_targeted_by_label(quiet=True)
    target_labels = (labels + 1) % 3
    aimed = atk(images, target_labels)
    atk.set_mode_default()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images, labels), batch_size=16)
    atk.save(loader, save_path=str(folder / "data.pt"), verbose=True)
    adv_loader = atk.load(load_path=str(folder / "data.pt"), batch_size=200)
    atk1 = torchattacks.FGSM(model, eps=8 / 255)
    atk2 = torchattacks.PGD(model, eps=8 / 255, alpha=2 / 255, steps=40, random_start=True)
    together = torchattacks.MultiAttack([atk1, atk2])(images, labels)
    return adv_images, aimed, next(iter(adv_loader))[0], together


def test_torchattacks_own_readme_runs_on_ours(tmp_path, capsys):
    images, labels = IMAGES[:200], LABELS[:200]
    (tmp_path / "ours").mkdir()
    theirs = readme(torchattacks, trained(), images, labels, tmp_path)
    ours = readme(our_torchattacks, trained(), images, labels, tmp_path / "ours")
    for a, b in zip(theirs, ours, strict=True):
        assert a.shape == b.shape
        assert (b - images).abs().max() <= 8 / 255 + 1e-6
    for place, goal in ((0, labels), (2, labels), (3, labels)):
        assert left(trained(), ours[place], goal) <= left(trained(), theirs[place], goal) + 0.03
    assert left(trained(), ours[1], (labels + 1) % 3) >= left(trained(), theirs[1], (labels + 1) % 3) - 0.03


def test_images_that_were_normalised_are_given_and_taken():
    mean, std = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]
    m, s = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))
    plain = our_torchattacks.PGD(trained(), eps=EPS, alpha=EPS / 4, random_start=False)
    inside = our_torchattacks.PGD(lambda x: trained()(x * s + m), eps=EPS, alpha=EPS / 4, random_start=False)
    inside.set_normalization_used(mean=mean, std=std)
    found = inside((IMAGES - m) / s, LABELS)
    assert torch.allclose(found * s + m, plain(IMAGES, LABELS), atol=1e-4)
    with pytest.raises(ValueError, match="normalised, to"):
        plain((IMAGES - m) / s, LABELS)


def test_every_call_draws_anew_and_a_seed_repeats():
    def calls():
        attack = our_torchattacks.PGD(trained(), eps=1e-3, alpha=1e-4, steps=1, random_start=True)
        return attack(IMAGES[:4], LABELS[:4]), attack(IMAGES[:4], LABELS[:4])

    (first, second), (again, _) = calls(), calls()
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


EPSILONS = [0.0, 0.005, 0.03, 0.01]


def example(library, fmodel, images, labels):
    """foolbox's example, single_attack_pytorch_resnet18.py."""
    clean_acc = library.accuracy(fmodel, images, labels)
    attack = library.LinfPGD()
    _raw_advs, clipped_advs, success = attack(fmodel, images, labels, epsilons=EPSILONS)
    robust_accuracy = 1 - success.float32().mean(axis=-1)
    checked = []
    for eps, advs_ in zip(EPSILONS, clipped_advs, strict=True):
        perturbation_sizes = (advs_ - images).norms.linf(axis=(1, 2, 3)).numpy()
        assert perturbation_sizes.max() <= eps + 1e-6
        checked.append(library.accuracy(fmodel, advs_, labels))
    assert checked == pytest.approx(robust_accuracy.numpy().tolist(), abs=1e-6)
    return [clean_acc, *checked]


#: What foolbox finds in its example, by bounds.
FOUND: dict[tuple[int, int], list[float]] = {}


class Theirs:
    accuracy = staticmethod(foolbox.accuracy)
    LinfPGD = foolbox.attacks.LinfPGD


@pytest.mark.one_in(3)
@pytest.mark.parametrize("make", [foolbox.PyTorchModel, our_foolbox.PyTorchModel])
@pytest.mark.parametrize("bounds", [(0, 1), (-1, 3)])
def test_foolbox_own_example_runs_on_ours(make, bounds):
    low, high = bounds
    steps = {"mean": [0.25] * 3, "std": [0.5] * 3, "axis": -3}

    class Inside(torch.nn.Module):
        """Takes images in `bounds`, less the mean, over the deviation."""

        def forward(self, x):
            return trained()((0.5 * x + 0.25 - low) / (high - low))

    fmodel = make(Inside().eval(), bounds=bounds, preprocessing=steps)
    images, labels = eagerpy.astensors(IMAGES * (high - low) + low, LABELS)
    ours = example(our_foolbox, fmodel, images, labels)
    if bounds not in FOUND:
        torch.manual_seed(0)  # of their random start
        their_model = foolbox.PyTorchModel(Inside().eval(), bounds=bounds, preprocessing=steps)
        FOUND[bounds] = example(Theirs, their_model, images, labels)
    theirs = FOUND[bounds]
    assert ours[0] == theirs[0]
    for a, b in zip(ours, theirs, strict=True):
        assert a <= b + 0.03


@pytest.mark.one_in(5)
@pytest.mark.parametrize(
    "name", ["L2PGD", "LinfFastGradientAttack", "L2FastGradientAttack", "LinfBasicIterativeAttack"]
)
@pytest.mark.parametrize("aimed", [False, True])
def test_foolbox_calls_leave_as_much(name, aimed):
    theirs, ours = (getattr(library, name)(random_start=False) for library in (foolbox.attacks, our_foolbox))
    fmodel, eps = foolbox.PyTorchModel(trained(), bounds=(0, 1)), 0.3 if name.startswith("L2") else EPS
    goal = foolbox.criteria.TargetedMisclassification((LABELS + 1) % 3) if aimed else LABELS
    if aimed and name.endswith("FastGradientAttack"):
        return  # theirs has none
    _, adversarial, success = ours(fmodel, IMAGES, goal, epsilons=eps)
    _, _, wanted = theirs(fmodel, IMAGES, goal, epsilons=eps)
    assert isinstance(adversarial, torch.Tensor)
    assert float(success.float().mean()) >= float(wanted.float().mean()) - CLOSE


def test_foolbox_carlini_wagner_finds_images_as_near():
    options = {"steps": 40, "binary_search_steps": 4, "initial_const": 0.1, "stepsize": 0.02}
    fmodel = foolbox.PyTorchModel(trained(), bounds=(0, 1))
    images, labels = IMAGES[:100], LABELS[:100]
    raw, clipped, success = our_foolbox.L2CarliniWagnerAttack(**options)(fmodel, images, labels, epsilons=[0.2, 0.4])
    _, _, wanted = foolbox.attacks.L2CarliniWagnerAttack(**options)(fmodel, images, labels, epsilons=[0.2, 0.4])
    assert (success.float().mean(1) >= wanted.float().mean(1) - 0.05).all()
    assert all(
        (x - images).flatten(1).norm(dim=1).max() <= eps + 1e-5 for x, eps in zip(clipped, (0.2, 0.4), strict=True)
    )
    near, _, fooled = our_foolbox.L2CarliniWagnerAttack(**options)(fmodel, images, labels)
    assert torch.equal(near, raw[0])
    assert fooled.all()


def test_modules_of_foolbox_have_their_places():
    from groundglass.compat.foolbox.attacks import LinfPGD
    from groundglass.compat.foolbox.criteria import TargetedMisclassification

    assert LinfPGD is our_foolbox.attacks.LinfPGD is our_foolbox.LinfPGD
    assert TargetedMisclassification is our_foolbox.criteria.TargetedMisclassification
    for name in our_foolbox.attacks.__all__:
        assert hasattr(foolbox.attacks, name), name


@pytest.mark.parametrize(
    ("module", "name", "said"),
    [
        (our_torchattacks, "OnePixel", "PGDL2"),
        (our_foolbox, "zoo", "LinfPGD"),
        (our_foolbox.attacks, "EADAttack", "L2DeepFoolAttack"),
        (our_evasion, "BoundaryAttack", "DeepFool"),
        (our_autoattack, "utils_tf", "AutoAttack"),
    ],
)
def test_a_call_that_is_not_here_is_answered_with_what_is(module, name, said):
    assert not hasattr(module, name)
    with pytest.raises(AttributeError, match=rf"{name} is not among .*{said}"):
        getattr(module, name)
