"""The `groundglass audit` command: models and pictures from anywhere, into one folder."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from groundglass.attacks import PGD
from groundglass.audit import AuditConfig, Finding
from groundglass.audit.ledger import Ledger
from groundglass.cli import main
from groundglass.core import DamagedFileError, DiskFullError
from groundglass.data import load
from groundglass.models import ModelSpec, build, save_model
from groundglass.models.defence import Defence
from groundglass.models.shared_features import ensemble_on
from groundglass.models.zoo import load as load_zoo
from groundglass.optics import DeviceStore, SimulatedOPU
from groundglass.results import FolderInUseError, OtherStudyError, RecordStore, Run
from groundglass.results.kinds import AUDIT
from groundglass.studies.audit_model import audit_model, parse_arguments, parse_eps, read_network
from groundglass.studies.imported import attack_digest, imported_attack
from groundglass.studies.pictures import read_pictures
from tests.audit.known import EPS, Shattered, network, pictures, trained

CONFIG = AuditConfig(steps=10, queries=100, query_images=20, probes=20)
FACTORY = """
from tests.audit.known import Shattered, network

def plain():
    return network()

def shattered():
    return Shattered(network())

def needy(width):
    return network()

def number():
    return 3

def far(model, images, labels, ball):
    return 1 - images
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a user's: a module with factories, weights, pictures."""
    (tmp_path / "mymodels.py").write_text(FACTORY)
    torch.save(trained(False).state_dict(), tmp_path / "plain.pt")
    torch.save({"state_dict": Shattered(trained(False)).state_dict()}, tmp_path / "shattered.pt")
    images, labels = pictures(60, 7)
    np.savez(tmp_path / "pictures.npz", images=images.numpy(), labels=labels.numpy())
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "mymodels", raising=False)
    return tmp_path


def run(here: Path, name: str, **changes: object):
    settings: dict = {
        "data": "pictures.npz",
        "weights": here / f"{name}.pt",
        "eps": str(EPS),
        "images": 60,
        "config": CONFIG,
        **changes,
    }
    return audit_model(f"mymodels:{name}", here / "out", **settings)


def test_a_factory_with_weights_is_audited_once(here: Path) -> None:
    found = run(here, "plain")
    assert found is not None
    assert found.claim("own").verdict is Finding.STANDS
    assert found.clean.share > 0.9  # the weights are in
    store = RecordStore.read(here / "out")
    (record,) = store.records
    assert record.result["worst"] == {"count": found.worst.count, "total": found.worst.total}
    assert store.arrays(record)["adversarial"].shape == (60, 1, 16, 16)
    assert run(here, "plain") is None
    with pytest.raises(OtherStudyError, match="n_images"):
        run(here, "plain", images=50)


def test_a_masked_model_is_told(here: Path) -> None:
    found = run(here, "shattered")
    assert found is not None
    assert found.claim("own").verdict is Finding.CONTRADICTED


def test_the_command_prints_the_verdict(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["audit", "mymodels:plain", "--weights", "plain.pt", "--data", "pictures.npz", "--eps", str(EPS)]
    sized = [*arguments, "--images", "60", "--steps", "10", "--queries", "50", "--out", "out"]
    assert main(sized) == 0
    said = capsys.readouterr().out
    assert "not contradicted by the" in said
    assert "report: out/report.html" in said
    assert said.splitlines()[-1].startswith("Within L-inf")
    assert "┃" not in said
    assert main(sized) == 0
    assert "nothing was run again" in capsys.readouterr().out
    assert main([*arguments, "--images", "6000", "--out", "other"]) == 1
    assert "has 60 images" in capsys.readouterr().err
    assert not (here / "other").exists()


def test_a_network_is_named_with_its_arguments(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["audit", "mymodels.py:needy", "--weights", "plain.pt", "--data", "pictures.npz", "--eps", str(EPS)]
    arguments += ["--images", "10", "--steps", "2", "--queries", "5", "--out", "out"]
    assert main(arguments) == 1
    assert "width" in capsys.readouterr().err
    assert main([*arguments, "--model-args", "width=3", "--mean", "0", "--std", "1"]) == 0
    (record,) = RecordStore.read(here / "out").records
    assert record.config["arguments"] == ["width=3", "mean=(0.0,)", "std=(1.0,)"]
    assert main([*arguments, "--model-args", "width=4", "--mean", "0", "--std", "1"]) == 1
    assert "other" in capsys.readouterr().err, "a folder holds one audit"


def test_arguments_are_numbers_where_they_look_like_them() -> None:
    found = parse_arguments(["a=3", "b=false", "c=none", "d=(1, 2)", "e=relu", "f=x=y"])
    assert found == {"a": 3, "b": False, "c": None, "d": (1, 2), "e": "relu", "f": "x=y"}
    with pytest.raises(ValueError, match="num_classes=10"):
        parse_arguments(["classes"])


def test_details_are_printed_when_they_are_asked_for(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "audit",
        "mymodels:plain",
        "--weights",
        "plain.pt",
        "--data",
        "pictures.npz",
        "--norm",
        "l2",
        "--out",
        "o",
    ]
    few = ["--images", "10", "--steps", "2", "--queries", "5"]
    assert main([*arguments, *few]) == 1
    assert "--eps 0.5" in capsys.readouterr().err
    assert not (here / "o").exists(), "L2 has no radius of its own"
    assert main([*arguments, *few, "--eps", "0.5", "-v"]) == 0
    said = capsys.readouterr().out
    assert "forward passes" in said
    assert "stronger than noise" in said
    assert said.splitlines()[-1].startswith("Within L2 0.5 the network keeps")


def test_claims_and_attacks_are_named_on_the_command_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["audit", "mymodels:plain", "--weights", "plain.pt", "--data", "pictures.npz", "--eps", str(EPS)]
    arguments += [
        "--images",
        "40",
        "--steps",
        "5",
        "--queries",
        "20",
        "--attack",
        "mymodels:far",
        "groundglass.attacks:FGSM",
    ]
    assert main([*arguments, "--claim", "own", "0.9", "groundglass.attacks:FGSM", "--out", "out"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "INVALID, and not counted: mymodels:far: 40 of 40 images lie outside" not in said  # only those that stood
    assert "INVALID, and not counted: mymodels:far" in said
    (record,) = RecordStore.read(here / "out").records
    assert record.config["claims"] == ["own", "0.9", "groundglass.attacks:FGSM"]
    assert [claim["name"] for claim in record.result["claims"]] == ["own", "stated", "groundglass.attacks:FGSM"]
    for wrong, told in (
        ("mymodels:fra", "did you mean 'far'"),
        ("nowhere:far", "no module"),
        ("far.py:far", "no file"),
        ("far-off:far", "networks.py:make"),
    ):
        assert main([*arguments[:-2], wrong, "--out", "other"]) == 1
        assert told in " ".join(capsys.readouterr().err.split())
    assert not (here / "other").exists()


def test_an_attack_that_was_changed_makes_another_audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = []
    for body in ("x", "1 - x", "1 - x"):
        (tmp_path / "mine.py").write_text(f"def it(model, x, y, ball):\n    return {body}\n")
        monkeypatch.delitem(sys.modules, "mine", raising=False)
        importlib.invalidate_caches()
        found.append(attack_digest(imported_attack("mine:it")))
    assert found[0] != found[1] == found[2]
    assert attack_digest(PGD(steps=3)) == attack_digest(PGD(steps=3)) != attack_digest(PGD(steps=4))


def test_other_weights_of_the_same_name_are_another_audit(here: Path) -> None:
    run(here, "plain")
    torch.save(trained(True).state_dict(), here / "plain.pt")
    with pytest.raises(OtherStudyError, match="files"):
        run(here, "plain")


def test_a_model_of_ours_comes_with_its_device(tmp_path: Path) -> None:
    device = SimulatedOPU.create(32, 64, seed=3)
    spec = ModelSpec(width=0.05, classes=4, mean=(0.5,) * 3, std=(0.5,) * 3, device_in=32, device_out=64)
    made = build(spec, device=device, seed=0)
    save_model(tmp_path / "models" / "opu.safetensors", made, spec)
    DeviceStore(tmp_path / "devices").put(device)
    path = str(tmp_path / "models" / "opu.safetensors")
    images = torch.rand(2, 3, 32, 32)
    assert torch.allclose(read_network(path, None, None)(images), made.eval()(images))
    with pytest.raises(FileNotFoundError, match="--device-file"):
        read_network(path, None, tmp_path)
    with pytest.raises(ValueError, match="has its own"):
        read_network(path, Path("more.pt"), None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"trained_on": "cifar10"}, "trained on cifar10, not on shapes"),
        ({"classes": 4}, "4 classes, and shapes has 10"),
    ],
)
def test_a_model_of_other_images_is_refused(tmp_path: Path, changes: dict, said: str) -> None:
    spec = replace(ModelSpec(width=0.05, classes=10, mean=(0.5,) * 3, std=(0.5,) * 3, trained_on="shapes"), **changes)
    save_model(tmp_path / "vgg.safetensors", build(spec, seed=0), spec)
    with pytest.raises(ValueError, match=said):
        audit_model(str(tmp_path / "vgg.safetensors"), tmp_path / "out", data="shapes", images=10)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("model", "weights", "message"),
    [
        ("nowhere.safetensors", None, "package.module:factory"),
        ("nomodule:plain", None, "no module 'nomodule'"),
        ("mymodels:plane", None, "plain"),
        ("mymodels:needy", None, "must need no arguments"),
        ("mymodels:number", None, "torch.nn.Module, not int"),
        ("mymodels:plain", "nothing.pt", "no weights file"),
        ("mymodels:plain", "broken.pt", "state_dict"),
        ("mymodels:plain", "list.pt", "is not a state_dict"),
        ("mymodels:plain", "shattered.pt", "weights of another network"),
    ],
)
def test_what_is_no_model_is_refused(here: Path, model: str, weights: str | None, message: str) -> None:
    (here / "broken.pt").write_bytes(b"no weights at all")
    torch.save([1, 2], here / "list.pt")
    with pytest.raises((ValueError, OSError, DamagedFileError), match=message):
        read_network(model, None if weights is None else here / weights, None)


def test_pickled_code_in_weights_is_not_run(here: Path) -> None:
    torch.save(nn.Linear(2, 2), here / "code.pt")  # a whole module: a pickle of classes
    with pytest.raises(DamagedFileError, match="read safely"):
        read_network("mymodels:plain", here / "code.pt", None)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b"PK no zip"), r"pictures.npz is damaged .* numpy.savez"),
        (lambda path: np.savez(path, images=0.5, labels=np.zeros(4, int)), r"pictures.npz: images must be NCHW"),
        (lambda path: np.savez(path, images=np.zeros((4, 1, 8, 8)), labels=3), r"pictures.npz: labels .* shape \(\)"),
        (lambda path: np.savez(path, images=np.zeros((4, 1, 8, 8), complex), labels=np.zeros(4, int)), "not complex"),
        (lambda path: np.savez(path, images=np.zeros((4, 1, 8, 8)), labels=np.zeros(4, complex)), "not complex"),
        (lambda path: np.savez(path, images=np.zeros((4, 1, 8, 8)), labels=np.full(4, 2**63, "u8")), "not up to 922"),
        (lambda path: np.savez(path, images=np.zeros((4, 1, 8, 8)), labels=np.array([None] * 4)), "array of object"),
        (lambda path: np.savez(path, images=np.zeros((4, 1, 8, 8), "M8[s]"), labels=np.zeros(4, int)), "array of date"),
        (lambda path: np.savez(path, images=np.zeros((4, 1, 8, 8), np.float32)), "no labels"),
        (lambda path: np.savez(path, images=np.full((4, 1, 8, 8), 200.0), labels=np.zeros(4, int)), "divide by 255"),
        (lambda path: np.savez(path, images=np.zeros((4, 8)), labels=np.zeros(4, int)), "NCHW"),
        (lambda path: np.savez(path, images=np.zeros((2, 1, 8, 8)), labels=np.zeros(2, int)), "has 2 images"),
    ],
)
def test_pictures_that_cannot_be_are_refused(tmp_path: Path, make, message: str) -> None:
    path = tmp_path / "pictures.npz"
    make(path)
    with pytest.raises((ValueError, DamagedFileError), match=message):
        read_pictures(str(path), 4, None)


def test_bytes_are_scaled(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.full((2, 1, 8, 8), 51, np.uint8), labels=np.zeros(2, int))
    assert float(read_pictures(str(tmp_path / "a.npz"), 2, None).images.max()) == pytest.approx(0.2)


@pytest.mark.parametrize("dtype", ["u1", "i2", "u8", ">i4"])
def test_labels_of_any_integers_are_classes(tmp_path: Path, dtype: str) -> None:
    images = np.random.default_rng(0).random((3, 1, 8, 8)).astype(">f8")
    np.savez(tmp_path / "a.npz", images=images, labels=np.array([0, 3, 1], dtype), notes=np.array([None]))
    found = read_pictures(str(tmp_path / "a.npz"), 3, None)
    assert found.labels.tolist() == [0, 3, 1]
    assert np.allclose(found.images.numpy(), images)


def test_an_unknown_data_set_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cifar10"):
        read_pictures("cifar1", 4, tmp_path)


@pytest.mark.parametrize(("text", "value"), [("8/255", 8 / 255), ("0.5", 0.5), ("1e-2", 0.01)])
def test_radii(text: str, value: float) -> None:
    assert parse_eps(text) == pytest.approx(value)


def test_a_refused_audit_leaves_no_folder(here: Path) -> None:
    with pytest.raises(ValueError, match="nothing to audit"):
        run(here, "plain", **refused(here))
    assert not (here / "out").exists()
    with pytest.raises(ValueError, match="not 45"):
        run(here, "plain", claims=("45",))
    assert run(here, "plain") is not None


def refused(here: Path) -> dict[str, object]:
    """Settings of an audit that is refused once the folder is there: the model gets no image right."""
    images, _ = pictures(60, 7)
    np.savez(here / "wrong.npz", images=images.numpy(), labels=((trained(False)(images).argmax(1) + 1) % 4).numpy())
    return {"data": "wrong.npz"}


def test_an_error_after_the_attacks_deletes_nothing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    attack = Ledger._run
    monkeypatch.setattr(Ledger, "_run", lambda self, plan, *asked: made.append(plan.name) or attack(self, plan, *asked))

    def full(self: RecordStore, *_: object) -> None:
        raise DiskFullError("the disk is full: run the same command again, it continues")

    with monkeypatch.context() as patch:
        patch.setattr(RecordStore, "add", full)
        with pytest.raises(DiskFullError):
            run(here, "plain")
    before = len(made)
    assert before
    assert run(here, "plain") is not None
    assert len(made) == before, "an attack that had ended was made again"


def test_an_audit_that_is_refused_leaves_the_folder_of_another(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entered, others = RecordStore.open, []

    def late(folder: Path, told: dict) -> RecordStore:
        """Another process has begun the same audit in between."""
        others.append(entered(folder, told))
        return entered(folder, told)

    monkeypatch.setattr(RecordStore, "open", late)
    with pytest.raises(FolderInUseError):
        run(here, "plain")
    assert (here / "out" / "study.json").exists()
    others[0].close()


def test_a_refused_audit_takes_back_no_more_than_it_made(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "out").mkdir()
    with pytest.raises(ValueError, match="nothing to audit"):
        run(here, "plain", **refused(here))
    assert list((here / "out").iterdir()) == [], "the folder was there before"

    def writes(*_: object, **__: object) -> None:
        (here / "out" / "attacks").touch()
        raise ValueError("nothing to audit")

    monkeypatch.setattr("groundglass.studies.audit_model.audit", writes)
    with pytest.raises(ValueError, match="nothing to audit"):
        run(here, "plain")
    assert {path.name for path in (here / "out").iterdir()} == {".lock", "study.json", "attacks"}


@pytest.mark.parametrize("text", ["", "eight", "8/0", "8/x"])
def test_what_is_no_radius(text: str) -> None:
    with pytest.raises(ValueError, match="8/255"):
        parse_eps(text)


def test_the_networks_of_these_tests_are_what_they_say() -> None:
    images, labels = pictures(200, 3)
    assert float((network()(images).argmax(1) == labels).float().mean()) < 0.6
    assert float((trained(False)(images).argmax(1) == labels).float().mean()) > 0.9


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("seed", [3, None])
def test_a_folder_says_whether_the_seed_of_a_device_is_public(
    tmp_path: Path, seed: int | None, parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = [SimulatedOPU.create(32, 64, seed=seed if number == 0 else None) for number in range(parts)]
    spec = ModelSpec(width=0.05, classes=10, mean=(0.5,) * 3, std=(0.5,) * 3, device_in=32, device_out=64)
    network = build(spec, device=devices[0], seed=0)
    if parts > 1:
        spec = replace(spec, device_in=None, device_out=None)
        network = ensemble_on(
            build(spec, seed=0), [Defence(at="", hidden=32, device_out=64)] * parts, devices, votes=True, seed=0
        )
    save_model(tmp_path / "models" / "opu.safetensors", network, spec)
    for device in devices:
        DeviceStore(tmp_path / "devices").put(device)
    told: list[dict] = []

    def opened(folder: Path, manifest: dict) -> None:
        told.append(manifest)
        raise KeyboardInterrupt

    monkeypatch.setattr(RecordStore, "open", opened)
    with pytest.raises(KeyboardInterrupt):
        audit_model(str(tmp_path / "models" / "opu.safetensors"), tmp_path / "out", data="shapes", images=10)
    assert told[0]["public_seed"] is (seed is not None)


def test_a_network_of_the_zoo_is_audited_by_its_name(here: Path) -> None:
    images = np.random.default_rng(0).random((4, 3, 32, 32), np.float32)
    with torch.no_grad():
        labels = load_zoo("vgg-opu-demo")(torch.from_numpy(images)).argmax(1)
    np.savez(here / "mine.npz", images=images, labels=labels.numpy())
    few = AuditConfig(steps=2, queries=2, query_images=1, probes=2, draws=1, targets=1)
    found = audit_model("zoo:vgg-opu-demo", here / "out", data="mine.npz", images=4, config=few)
    assert found is not None
    assert found.clean.share == 1
    assert found.claims[0].name == "dfa-fresh+fa"


def test_whether_images_without_a_test_split_were_trained_on_is_told_or_asked(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["audit", "mymodels.py:plain", "--weights", "plain.pt", "--data", "pictures.npz", "--eps", str(EPS)]
    command += ["--steps", "2", "--queries", "3", "--images", "12"]
    assert main([*command, "--out", "unknown"]) == 0
    assert "--trained-on pictures.npz" in capsys.readouterr().err
    held, every = load("pictures.npz").test.labels, pictures(60, 7)[1]
    for out, more, labels, told in (
        ("known", ["--trained-on", "pictures.npz"], held, False),
        ("unknown", [], every, True),
    ):
        assert more == [] or main([*command, *more, "--out", out]) == 0
        assert "trained" not in capsys.readouterr().err
        (record,) = Run.open(Path(out)).records
        assert AUDIT.result_of(record).perhaps_seen == told
        assert RecordStore.read(Path(out)).arrays(record)["label"].tolist() == labels[:12].tolist()
        page = (Path(out) / "report.html").read_text(encoding="utf-8")
        assert ("Nothing says whether the network was trained" in page) == told
    # Trained on other images, it has seen none of these.
    assert not read_pictures("pictures.npz", 60, None, trained_on="cifar10").perhaps_seen
