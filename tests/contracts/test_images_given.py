"""Images in every form that is taken, through everything that takes images: the same numbers. What is unclear is refused."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset

from groundglass.adaptive import observe
from groundglass.adaptive.stand_ins import OwnHead
from groundglass.attacks import PGD, Linf
from groundglass.audit import AuditConfig, audit
from groundglass.core import generator, permutation
from groundglass.data import Dataset, ImageSet, IndexedImages, StreamedImages, batches, given
from groundglass.data.given import first_of
from groundglass.models import accuracy, defend
from groundglass.optics import SimulatedOPU
from groundglass.training import HybridDFA, TrainingConfig, encode_bits, fit_classifier, train

COUNT = 42
# Black and white: exact in every type. In the order of the classes, as a folder has them.
BYTES = 255 * torch.randint(0, 2, (COUNT, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
FLOATS = BYTES.float() / 255
LABELS = torch.arange(COUNT) // 14
ORDER = permutation(COUNT, generator=generator(5, "batches", 0))
CONFIG = TrainingConfig(epochs=1, batch_size=10)


class Torchvisions(torch.utils.data.Dataset):
    """Pillow images and plain numbers."""

    def __init__(self, images=BYTES, labels=LABELS):
        self.items = [
            (Image.fromarray(x.permute(1, 2, 0).numpy()), int(y)) for x, y in zip(images, labels, strict=True)
        ]
        self.classes = ["a", "b", "c"]

    def __len__(self):
        return len(self.items)

    def __getitem__(self, k):
        return self.items[k]


class HuggingFaces:
    """Dicts; no class of torch's."""

    def __len__(self):
        return COUNT

    def __getitem__(self, k):
        return {"id": f"{k}", "img": BYTES[k].permute(1, 2, 0).numpy(), "label": np.int16(LABELS[k])}


class Endless(IterableDataset):
    """Items that come one by one, from the beginning each time."""

    def __init__(self, order=None):
        self.order = range(COUNT) if order is None else order

    def __iter__(self):
        return ((FLOATS[k].double(), LABELS[k]) for k in self.order)


def npz(folder: Path) -> Path:
    np.savez(folder / "mine.npz", images=BYTES.permute(0, 2, 3, 1).numpy(), labels=LABELS.numpy().astype(np.uint8))
    return folder / "mine.npz"


def pictures(folder: Path) -> Path:
    for k in range(COUNT):
        (place := folder / "mine" / f"class {LABELS[k]}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(BYTES[k].permute(1, 2, 0).numpy()).save(place / f"{k:03}.png")
    return folder / "mine"


#: The forms in which images have a place, and those in which they come as they come, in an order.
PLACED: dict[str, Callable[[Path], Any]] = {
    "bytes": lambda _: (BYTES, LABELS),
    "floats": lambda _: (FLOATS, LABELS.to(torch.uint8)),
    "half": lambda _: (FLOATS.half(), LABELS[:, None]),
    "double, one-hot": lambda _: (FLOATS.double(), nn.functional.one_hot(LABELS)),
    "arrays": lambda _: [FLOATS.numpy(), LABELS.numpy().astype(np.uint16)],
    "arrays, channels last": lambda _: (BYTES.permute(0, 2, 3, 1).numpy(), LABELS.tolist()),
    "dict of tensors": lambda _: {"images": FLOATS, "labels": LABELS},
    "TensorDataset": lambda _: TensorDataset(FLOATS, LABELS),
    "Subset": lambda _: Subset(TensorDataset(FLOATS, LABELS), range(COUNT)),
    "of torchvision": lambda _: Torchvisions(),
    "of Hugging Face": lambda _: HuggingFaces(),
    "list of pairs": lambda _: [(x, y) for x, y in zip(BYTES.numpy(), LABELS, strict=True)],
    ".npz": npz,
    "folder": pictures,
    "folder, as text": lambda folder: str(pictures(folder)),
}
STREAMED: dict[str, Callable[[Any], Any]] = {
    "DataLoader": lambda order: DataLoader(TensorDataset(FLOATS[order], LABELS[order]), batch_size=4),
    "DataLoader of dicts": lambda order: DataLoader(
        [{"image": BYTES[k], "target": int(LABELS[k])} for k in order], batch_size=9
    ),
    "IterableDataset": Endless,
    "DataLoader of a stream": lambda order: DataLoader(Endless(order), batch_size=16),
    "DataLoader without batches": lambda order: DataLoader(
        TensorDataset(FLOATS[order], LABELS[order]), batch_size=None
    ),
    "list of batches": lambda order: [(FLOATS[part], LABELS[part]) for part in torch.as_tensor(order).split(15)],
}
FORMS = {**PLACED, **{name: lambda _, make=make: make(range(COUNT)) for name, make in STREAMED.items()}}
every_form = pytest.mark.parametrize("form", FORMS)


def network() -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        plain = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    return defend(plain, at="1", device=SimulatedOPU.create(16, 32, seed=1), seed=0)


def audited(images: Any) -> Any:
    config = AuditConfig(
        steps=2, queries=2, query_images=2, probes=4, fit_images=COUNT, labels=COUNT, draws=1, targets=1
    )
    found = audit(network(), FLOATS[::4], LABELS[::4], Linf(0.1), natural=images, config=config)
    return found.adversarial, [(attempt.name, attempt.broke) for attempt in found.attempts]


def attacked(images: Any, *rest: Any, **options: Any) -> Any:
    return PGD(steps=2)(network().eval(), images, *rest, ball=Linf(0.3), **options)


def fitted(images: Any) -> Any:
    model = network()
    history = fit_classifier(model, images, config=CONFIG, seed=3)
    return model.block.readout.weight.detach(), history[0].loss


def trained(images: Any) -> Any:
    model = network()
    history = train(model, images, CONFIG, credit=HybridDFA(), seed=5)
    return torch.cat([p.detach().flatten() for p in model.parameters()]), history[0].loss


TAKERS: dict[str, Callable[[Any], Any]] = {
    "accuracy": lambda images: accuracy(network(), images),
    "encode_bits": lambda images: encode_bits(network(), images),
    "fit_classifier": fitted,
    "observe": lambda images: observe(network().eval(), images),
    "attack": lambda images: attacked(images).adversarial,
    "own head": lambda images: OwnHead.fit(network().eval(), images, labels=COUNT, seed=0).weights,
}


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


OURS = ImageSet("mine", "train", BYTES, LABELS, ("a", "b", "c"))


@pytest.fixture(scope="module")
def wanted() -> dict[str, Any]:
    found = {name: take(OURS) for name, take in TAKERS.items()}
    assert 0 < found["accuracy"] < 1
    return {**found, "audit": audited(OURS), "train": trained(OURS)}


@pytest.mark.one_in(5)
@every_form
def test_every_form_gives_the_same_numbers_wherever_images_are_taken(form: str, wanted, tmp_path: Path) -> None:
    for name, take in TAKERS.items():
        assert equal(take(FORMS[form](tmp_path)), wanted[name]), name


def test_a_set_in_an_attack_brings_its_labels_and_may_be_followed_by_the_ball() -> None:
    loader, model = DataLoader(TensorDataset(FLOATS, LABELS), batch_size=5), network().eval()
    wanted = PGD(steps=2)(model, FLOATS, LABELS, Linf(0.3))
    assert wanted.success_rate > 0
    assert torch.equal(PGD(steps=2)(model, loader, Linf(0.3)).adversarial, wanted.adversarial)
    sweep = PGD(steps=2)(model, loader, ball=Linf, eps=[0.1, 0.3])
    assert torch.equal(sweep[0].adversarial, PGD(steps=2)(model, FLOATS, LABELS, Linf(0.1)).adversarial)
    with pytest.raises(TypeError, match="leave out `labels`"):
        attacked(loader, LABELS)
    with pytest.raises(TypeError, match="are missing"):
        attacked(FLOATS)
    with pytest.raises(TypeError, match="two arguments"):
        PGD()(model, FLOATS, Linf(0.1))
    with pytest.raises(ValueError, match="shuffle=False"):
        attacked(DataLoader(TensorDataset(FLOATS, LABELS), batch_size=5, shuffle=True))


def test_the_images_of_a_set_are_in_the_bounds_of_the_attack(tmp_path: Path) -> None:
    wide = 3 * FLOATS - 1

    def other(images: torch.Tensor) -> torch.Tensor:
        return network().eval()((images + 1) / 3)

    wanted = PGD(steps=2)(other, wide, LABELS, Linf(0.9), bounds=(-1, 2)).adversarial
    loader, items = DataLoader(TensorDataset(wide, LABELS), 5), list(zip(wide, LABELS, strict=True))
    for form in (loader, items, (wide.numpy(), LABELS), OURS, npz(tmp_path), Torchvisions()):
        assert torch.equal(PGD(steps=2)(other, form, Linf(0.9), bounds=(-1, 2)).adversarial, wanted)
    with pytest.raises(ValueError, match="bounds"):
        PGD(steps=2)(other, loader, Linf(0.9), bounds=(-1, 1))
    for form in (loader, items, (wide, LABELS), OURS):
        assert torch.equal(first_of(form, 9, bounds=(-1, 2)).floats()[:9], FLOATS[:9])


@pytest.mark.parametrize("form", ["half", "of torchvision", "folder", "DataLoader"])
def test_an_audit_takes_natural_images_in_every_form(form: str, wanted, tmp_path: Path) -> None:
    assert equal(audited(FORMS[form](tmp_path)), wanted["audit"])


@pytest.mark.parametrize("form", FORMS)
def test_training_is_the_same_too_and_of_a_stream_in_its_order(form: str, wanted, tmp_path: Path) -> None:
    images = STREAMED[form](ORDER.tolist()) if form in STREAMED else FORMS[form](tmp_path)
    assert equal(trained(images), wanted["train"])
    if form in STREAMED:
        assert not equal(trained(FORMS[form](tmp_path)), wanted["train"])


def test_a_loader_that_shuffles_draws_from_the_seed_of_the_training() -> None:
    def loader() -> Any:
        return DataLoader(TensorDataset(FLOATS, LABELS), batch_size=4, shuffle=True)

    torch.manual_seed(7)
    first = trained(loader())
    torch.manual_seed(8)
    assert equal(trained(loader()), first)


def test_a_stream_is_resumed_after_an_epoch(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("groundglass.training.checkpoint.SECONDS", 0.0)
    config = TrainingConfig(epochs=2, batch_size=10)

    class Killed(Exception):
        pass

    def stop(result: Any) -> None:
        raise Killed

    def go(**options: Any) -> Any:
        model = network()
        train(model, STREAMED["DataLoader"](range(COUNT)), config, credit=HybridDFA(), seed=5, **options)
        return dict(model.state_dict())

    whole = go()
    with pytest.raises(Killed):
        go(checkpoint=tmp_path / "a", on_epoch=stop)
    resumed = go(checkpoint=tmp_path / "a")
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


def test_a_checkpoint_knows_images_that_have_no_name_by_what_they_are(tmp_path: Path) -> None:
    def go(images: torch.Tensor) -> None:
        train(network(), (images, LABELS), CONFIG, credit=HybridDFA(), seed=5, checkpoint=tmp_path / "a")

    go(FLOATS)
    go(FLOATS.double())
    with pytest.raises(ValueError, match="images was"):
        go(1 - FLOATS)


def test_a_stream_is_read_as_it_is_needed() -> None:
    read = 0

    class Counted(IterableDataset):
        def __iter__(self):
            nonlocal read
            for k in range(10_000):
                read += 1
                yield FLOATS[k % COUNT], LABELS[k % COUNT]

    walk = iter(batches(given(Counted()), batch_size=8, seed=0, epoch=0))
    assert [len(next(walk)) for _ in range(3)] == [8, 8, 8]
    assert read == 24
    found = given(Counted()).first(5)
    assert isinstance(found, ImageSet)
    assert len(found) == 5
    assert read <= 30


def test_what_is_random_in_reading_an_item_is_random_anew_and_memory_holds_no_items() -> None:
    class Noisy(torch.utils.data.Dataset):
        def __len__(self):
            return 8

        def __getitem__(self, k):
            return torch.rand(1, 4, 5), k % 2

    images = given(Noisy())
    assert isinstance(images, IndexedImages)
    one, two = (next(iter(batches(images, batch_size=8, seed=0, epoch=0))).images for _ in range(2))
    assert one.shape == (8, 1, 4, 5)
    assert not torch.equal(one, two)


def test_grey_images_of_any_size_and_classes() -> None:
    grey = BYTES[:, 0, :7, :5]
    for form in ((grey, LABELS), (grey.numpy(), LABELS.numpy()), list(zip(grey.numpy(), LABELS.tolist(), strict=True))):
        images = given(form, classes=("x", "y", "z", "none of these"))
        assert next(iter(batches(images, batch_size=3, seed=0, epoch=0))).images.shape == (3, 1, 7, 5)
        assert images.classes[3] == "none of these"
    assert len(given((grey, LABELS)).classes) == 3
    assert given(Torchvisions()).classes == ("a", "b", "c")


def test_bytes_are_attacked_as_the_floats_that_they_are() -> None:
    model = network().eval()
    one, two = (PGD(steps=2)(model, images, LABELS, Linf(0.1), seed=0) for images in (BYTES, FLOATS))
    assert torch.equal(one.adversarial, two.adversarial)


def test_the_places_of_image_and_label_may_be_named() -> None:
    triples = [(f"{k}", FLOATS[k], int(LABELS[k])) for k in range(COUNT)]
    assert accuracy(network(), given(triples, keys=(1, 2))) == accuracy(network(), OURS)
    many = [{"img": FLOATS[k], "fine_label": int(LABELS[k]), "coarse_label": 0} for k in range(COUNT)]
    assert accuracy(network(), given(many, keys=("img", "fine_label"))) == accuracy(network(), OURS)
    with pytest.raises(TypeError, match="'fine'"):
        given(many, keys=("img", "fine"))


class Empty(IterableDataset):
    def __iter__(self):
        return iter(())


HALVES = (0.5,) * 3
UNCLEAR: dict[str, tuple[Callable[[], Any], str]] = {
    "0..255 in floats": (lambda: (255 * FLOATS, LABELS), "divide by 255"),
    "normalised": (lambda: (2 * FLOATS - 1, LABELS), "normalised"),
    "normalised, in a stream": (lambda: DataLoader(TensorDataset(2 * FLOATS - 1, LABELS), 5), "normalised"),
    "normalised, in a data set": (lambda: [(2 * FLOATS[0] - 1, 0)], "normalised"),
    "NaN": (lambda: (FLOATS / 0, LABELS), "NaN"),
    "integers": (lambda: (BYTES.int(), LABELS), r"float.* / 255"),
    "bytes of 0 and 1": (lambda: (BYTES // 255, LABELS), "black and white"),
    "channels last": (lambda: (FLOATS.permute(0, 2, 3, 1), LABELS), "permute"),
    "channels last, in a data set": (lambda: [(FLOATS[0].permute(1, 2, 0), 0)], "permute"),
    "16 bits": (lambda: [(Image.fromarray(np.zeros((8, 8), np.uint16)), 0)], "8 bits"),
    "of several sizes": (lambda: [(FLOATS[0], 0), (FLOATS[0, :, :4], 1)], "one size"),
    "of several sizes, in a stream": (lambda: [(FLOATS[:2], LABELS[:2]), (FLOATS[:2, :, :4], LABELS[:2])], "one size"),
    "no labels": (lambda: FLOATS, r"\(images, labels\)"),
    "too few labels": (lambda: (FLOATS, LABELS[:5]), "one an image"),
    "labels in floats": (lambda: (FLOATS, LABELS.float()), "integers"),
    "labels in text": (lambda: [(FLOATS[0], "cat")], "class indices"),
    "labels that are ids": (lambda: (FLOATS, LABELS + 10**9), "from 0"),
    "negative labels": (lambda: (FLOATS, LABELS - 1), r"0\.\."),
    "three things": (lambda: [(FLOATS[0], 0, "a")], "keys="),
    "images alone in a list": (lambda: list(FLOATS), "keys="),
    "other keys": (lambda: [{"img": FLOATS[0], "fine_label": 0}], "'fine_label'"),
    "two labels": (lambda: [{"img": FLOATS[0], "label": 0, "target": 1}], "keys="),
    "several splits": (lambda: {"train": HuggingFaces(), "test": HuggingFaces()}, r"data\['train'\]"),
    "a data set of ours": (lambda: Dataset("mine", OURS, OURS, mean=HALVES, std=HALVES), "give its .train"),
    "a generator": (lambda: ((x, 0) for x in FLOATS), "once"),
    "a number": (lambda: 3, "not a int"),
    "a function": (lambda: network, "not a function"),
    "nothing": (lambda: (FLOATS[:0], LABELS[:0]), "no images"),
    "an empty stream": (lambda: Empty(), "no images"),
    "no such file": (lambda: "missing.npz", "no file"),
}


@pytest.mark.parametrize("case", UNCLEAR)
def test_what_is_unclear_is_refused_with_what_to_do(case: str) -> None:
    make, said = UNCLEAR[case]
    with pytest.raises((TypeError, ValueError, FileNotFoundError), match=said):
        accuracy(network(), make())


def test_a_label_that_is_no_class_of_the_model_is_refused_before_a_step() -> None:
    for images in ((FLOATS, LABELS + 1), DataLoader(TensorDataset(FLOATS, 3 - LABELS), 10)):
        model = network()
        before = copy.deepcopy(model.state_dict())
        with pytest.raises(ValueError, match=r"0\.\.2"):
            train(model, images, CONFIG, credit=HybridDFA(), seed=5)
        assert torch.equal(model.state_dict()["network.1.readout.weight"], before["network.1.readout.weight"])


def test_answers_are_for_images_that_have_a_place() -> None:
    answers = torch.full((COUNT, 3), 1 / 3)
    train(network(), Torchvisions(), CONFIG, credit=HybridDFA(), seed=5, answers=answers)
    with pytest.raises(ValueError, match="stream"):
        train(network(), Endless(), CONFIG, credit=HybridDFA(), seed=5, answers=answers)


def test_a_loader_knows_its_length_and_another_stream_is_counted() -> None:
    loader = DataLoader(TensorDataset(FLOATS, LABELS), batch_size=4, drop_last=True)
    assert len(given(loader)) == 40 == sum(len(labels) for _, labels in loader)
    assert isinstance(given(Endless()), StreamedImages)
    assert len(given(Endless(range(17)))) == 17
