"""The Python blocks of the how-to pages that are whole programs run as they stand."""

import re
import shlex
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import groundglass as gg
from groundglass import attacks, cli, training
from groundglass.attacks import GradientAttack, LabelAttack, QueryAttack, SurrogatePGD
from groundglass.audit import AuditConfig
from groundglass.cli.main import _parsed
from groundglass.data import Dataset
from groundglass.optics import DeviceStore
from groundglass.studies import find_study, harden_model
from groundglass.studies.asked import Asked
from groundglass.studies.defences import study as defences
from groundglass.studies.engine import planned
from tests.bench.fakes import TINY
from tests.interop.conftest import pictures as faint
from tests.service import serving
from tests.studies import tiny
from tests.studies.tiny import pictures

# What a page prints is what its reader gets.
pytestmark = pytest.mark.usefixtures("stretched_seeds")
PAGES = Path(__file__).parent.parent / "docs" / "how-to"


def run_blocks(page: str, *, instead: dict[str, str] | None = None, until: str = "", **space: object) -> dict:
    """What is there when all blocks of a page have run, one after the other, in `space`; `instead`: settings, and faster ones;
    `until`: a heading, from which on they are parts of programs."""
    text = (PAGES / page).read_text()
    assert until in text
    text = text.partition(until)[0] if until else text
    for setting, faster in (instead or {}).items():
        assert setting in text
        text = text.replace(setting, faster)
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 2
    for block in blocks:
        exec(compile(block, page, "exec"), space)
    return space


def test_the_page_on_audits_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = run_blocks("audit.md")["found"]
    assert found.claim("own").verdict == "contradicted"
    assert any(attempt.mode == "identity" and attempt.broke for attempt in found.attempts)


SMALL = AuditConfig(steps=5, queries=20, query_images=8, probes=12, targets=1)


@pytest.mark.slow
def test_a_network_of_ones_own_is_defended_audited_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small = AuditConfig(steps=5, queries=20, query_images=4, probes=8, fit_images=100, targets=1, draws=1, labels=100)
    made = Dataset("shapes", faint("train", 400), faint("test", 100), mean=(0.5,) * 3, std=(0.5,) * 3)
    instead = {
        'load("shapes")': "made",
        "epochs=4": "epochs=2, batch_size=20",
        "head(500)": "head(100)",
        "head(50)": "head(20)",
        "PGD()": "PGD(steps=20)",
        "natural=data.train,": "natural=data.train, config=small,",
    }
    space = run_blocks("own-network.md", instead=instead, small=small, made=made)
    network, again, data, found = (space[name] for name in ("network", "again", "data", "found"))
    assert space["accuracy"](network, data.test) > 0.9
    assert space["result"].robust_accuracy > found.worst.share
    assert found.claim("dfa-fresh+fa").verdict == "contradicted"
    images = data.test.head(50).floats()
    assert torch.equal(again.eval()(images), network.eval()(images))
    assert (tmp_path / "secret.device").stat().st_mode & 0o777 == 0o600


@pytest.mark.slow
def test_the_page_on_benchmarks_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    space = run_blocks("bench.md", instead={"turns=3": "turns=3, sizes=sizes"}, sizes=TINY)
    assert [change.verdict for change in space["changes"]] == ["the same"]
    assert (tmp_path / "today.json").exists()
    assert space["found"].jobs["device-one"].peer is not None


def test_the_page_on_results_runs() -> None:
    space = run_blocks("results.md")
    assert space["test"].paired
    assert len(space["right"]) == 1000


def answered(network: torch.nn.Module) -> Dataset:
    """Pictures with the labels that the network gives them."""
    made = pictures("shapes", n_train=100, n_test=8)
    with torch.no_grad():
        train, test = (replace(split, labels=network(split.floats()).argmax(1)) for split in (made.train, made.test))
    return replace(made, train=train, test=test)


def test_the_page_on_attacks_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    space = run_blocks(
        "attack.md", instead={'load("cifar10")': "own", "head(100)": "head(8)"}, own=answered(gg.load("vgg-opu-demo"))
    )
    left = [space[name].robust_accuracy for name in ("fresh", "through_b", "own_head")]
    assert max(left[1:]) < 1
    assert left[1] <= left[0]
    assert space["result"].success.any()
    assert space["aimed"].success.sum() <= space["result"].success.sum()
    assert (tmp_path / "examples.png").exists()


def test_the_page_on_certificates_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own = answered(gg.load("vgg-opu-demo"))
    fewer = {"n0=50, n=500": "n0=4, n=16", "head(10)": "head(2)", "n=200": "n=10", "attack_draws=4": "judge_draws=12"}
    space = run_blocks("certify.md", instead={'load("cifar10")': "own", "head(100)": "head(20)", **fewer}, own=own)
    assert space["found"].frames == 2 * 20
    assert (tmp_path / "certificates.safetensors").exists()
    assert bool((space["low"] <= space["high"]).all())
    assert torch.equal(space["through"].same_bits, space["bits"].counts == 0)


@pytest.mark.slow
def test_the_page_on_ensembles_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = Dataset("shapes", faint("train", 300), faint("test", 40), mean=(0.5,) * 3, std=(0.5,) * 3)
    small = replace(SMALL, fit_images=100, draws=1, labels=50)
    fewer = {
        'load("shapes")': "made",
        "epochs=3": "epochs=4, batch_size=20",
        "head(50)": "head(8)",
        "head(500)": "head(100)",
        "PGD()": "PGD(steps=5)",
        "Linf(4 / 255)": "Linf(0.3)",
        "natural=data.train)": "natural=data.train, config=small)",
    }
    space = run_blocks("ensembles.md", instead=fewer, made=made, small=small)
    assert gg.accuracy(space["ensemble"], made.test) > 0.8
    assert space["found"].claim("dfa-fresh+fa")
    images = made.test.head(2).floats()
    assert torch.equal(space["again"](images), space["deep"].eval()(images))


@pytest.mark.slow
def test_the_page_on_hardening_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own = answered(gg.load("vgg-16-at"))
    small = replace(SMALL, fit_images=100, draws=1, labels=50)
    fewer = {
        "create(512, 8000)": "create(512, 300)",
        "head(200)": "head(3)",
        "seed=0)\n    print(name": "seed=0, config=small)\n    print(name",
    }
    space = run_blocks("harden.md", instead={'load("cifar10")': "own", **fewer}, own=own, small=small)
    assert space["hardened"].device is space["device"]
    assert space["control"].device is None
    assert space["found"].clean.total == 3
    text = (PAGES / "harden.md").read_text()
    commands = [shlex.split(line) for line in re.findall(r"^    groundglass (harden .*)$", text, re.MULTILINE)]
    assert len(commands) >= 4
    assert all(_parsed(list(words)) is not None for words in commands)
    monkeypatch.setattr(harden_model, "load", lambda name, data_dir=None: replace(own, name=name))
    assert cli.main([*commands[0], "--epochs", "1", "--outputs", "300"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"hardened"}
    out = Path(commands[0][commands[0].index("--out") + 1])
    assert gg.load_model(out, find_device=DeviceStore("hardened/devices").find).at == "head"  # type: ignore[union-attr]


def test_the_page_on_secrets_runs() -> None:
    own = Dataset("shapes", faint("train", 60), faint("test", 60), mean=(0.5,) * 3, std=(0.5,) * 3)
    space = run_blocks("secret.md", instead={'load("cifar10")': "own", "head(600)": "head(60)", "5000": "900"}, own=own)
    sure, by_class = (
        space["detect"](gg.ScoreAccess(space["network"]), space["images"], space["Flat"]()),
        space["by_class"],
    )
    assert (sure.present, sure.queries) == (True, 9)
    assert by_class.queries <= 900
    assert space["found"].which in (0, None)


def test_the_phrasebook_runs() -> None:
    space = run_blocks("phrasebook.md")
    assert float(space["robust_accuracy"][-1]) < 1
    assert space["asked"].success.any()


def test_the_table_of_attacks_names_all_of_them_as_they_are() -> None:
    """A row an attack that is called alone: its access, its balls, whether it can aim, and its budget."""
    found = []
    for name in sorted(attacks.__all__):
        one = getattr(attacks, name)
        if not isinstance(one, type) or not issubclass(one, GradientAttack | QueryAttack) or one is SurrogatePGD:
            continue
        if one.__module__.endswith((".gradient_attack", ".minimum_norm", ".search")):
            continue  # what they share
        asks = not issubclass(one, GradientAttack) or one is attacks.RandomNoise
        needs = "gradients" if not asks else "labels" if issubclass(one, LabelAttack) else "scores"
        balls = ", ".join(kind.__name__ for kind in one.kinds) or "all"
        budget = "its own steps" if one.default_budget is None else f"{one.default_budget:,} queries"
        found.append(f"| `{name}` | {needs} | {balls} | yes | {budget} |")
    text = (PAGES / "attack.md").read_text()
    assert re.findall(r"^\| `.*", text, re.MULTILINE) == found


def test_the_table_of_teaching_signals_names_all_of_them() -> None:
    rows = re.findall(r"^\| `(\w+)\(?.*` \| `([a-z-]+)` \|", (PAGES / "own-network.md").read_text(), re.MULTILINE)
    assert {name for _, name in rows} == set(training.CREDITS)
    assert all(hasattr(training, kind.partition("(")[0]) for kind, _ in rows)


def test_readmes_first_script_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (PAGES.parent.parent / "README.md").read_text(), re.DOTALL)
    space: dict = {}
    for block in blocks[:2]:
        exec(
            compile(block.replace("seed=0)", "seed=0, config=small)"), "README.md", "exec"),
            space | {"small": SMALL},
            space,
        )
    assert len(space["sweep"]) == 3
    assert space["asked"].queries.max() <= 500
    with pytest.raises(NameError, match="my_classifier"):  # the third is of the layer
        exec(blocks[2], space)


def test_the_page_on_the_camera_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    space = run_blocks("camera.md", instead={"rows=50": "rows=8", '"6N", "12N", "24N"': '"6N", "12N"'})
    assert space["readings"].shape == (5, 400)
    assert space["table"]["error"].between(0, 1).all()
    assert {path.name for path in tmp_path.iterdir()} == {"lab-2.json", "error.png"}


def test_the_page_on_linear_projections_runs() -> None:
    space = run_blocks("linear.md", instead={"200": "60"})
    apart, together = space["apart"], space["together"]
    assert abs(apart - together).mean() < 0.02 * abs(together).mean()
    assert space["best"] < space["error"] < 1.5 * space["best"]
    assert space["access"].frames <= 736 + 60 * 8 * 16


def test_the_page_on_the_service_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with serving.bench() as bench:
        bench.serve("lab", gg.SimulatedOPU.create(64, 100))
        token = Path("token")
        token.touch(0o600)
        token.write_text(bench.token())
        instead = {"unix:///srv/lab/device.socket#lab": bench.address("lab")}
        space = run_blocks("service.md", instead=instead, until="## Training, studies and audits through a service")
    assert space["readings"].shape == (100, 100)
    assert space["logits"].shape == (5, 10)
    assert space["found"].frames < 50


def test_the_page_on_features_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    space = run_blocks("features.md")
    assert space["model"].score(space["test"], space["test_labels"]) > 0.95
    assert space["logits"].shape == (len(space["test"]), 10)
    assert np.linalg.norm(space["found"] - space["exact"]) < 0.3 * np.linalg.norm(space["exact"])
    assert (tmp_path / "lab.device").stat().st_mode & 0o777 == 0o600


def test_the_page_for_those_who_used_lightonml_runs() -> None:
    space = run_blocks("from-lightonml.md")
    assert space["readings"].shape == (100, 300)
    assert space["pipe"].score(space["images"][1200:].reshape(-1, 8, 8), space["labels"][1200:]) > 0.85


def test_the_page_on_cards_runs() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (PAGES / "gpu.md").read_text(), re.DOTALL)
    space: dict = {}
    exec(compile(block, "gpu.md", "exec"), space)
    assert space["result"].adversarial.device.type == space["where"].type


@pytest.mark.slow
def test_the_page_on_changing_a_study_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (PAGES / "change-a-study.md").read_text()
    commands = [shlex.split(line) for line in re.findall(r"^    groundglass run (.*)$", text, re.MULTILINE)]
    assert len(commands) >= 5
    for study, *words in commands:
        options = dict(zip(words[::2], words[1::2], strict=True))
        if "--recipe" in options:
            changes = [value for name, value in zip(words[::2], words[1::2], strict=True) if name == "--set"]
            asked = Asked.of(find_study(study), options["--recipe"], None, changes, data=options["--data"])
            assert len(asked.told("float32")) >= len(changes)
    for change in ("eps=8/255", 'others=[{kind = "Square"}, {kind = "RayS", tolerance = 0.01}]'):
        assert change in text
        Asked.of(find_study("black-box"), "laptop", None, [change]).config("float32")

    def small(*asked: Any, **named: Any) -> Any:
        few: dict[str, Any] = {"eps_l2": (), "rules": ("dfa",), "cw_images": 0, "ladder": None}
        return replace(tiny.white_box(*asked, **named), eps_paper=(0.02,), **few)

    monkeypatch.chdir(tmp_path)
    tiny.enter(monkeypatch, "white-box", small)
    monkeypatch.setattr(planned, "fastest_precision", lambda where: "float32")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* steps of .* cannot reach", RuntimeWarning)
        run = run_blocks("change-a-study.md", instead={'"quick"': '"tiny"'})["run"]
    assert run.manifest["grown"][0]["settings"] == ["eps_paper: [0.02] -> [0.02, 0.08]"]


def test_the_page_on_defences_names_every_family_and_its_own_is_one_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defences, "FAMILIES", dict(defences.FAMILIES))
    families = list(defences.FAMILIES)
    text = (PAGES / "defences.md").read_text()
    assert re.findall(r"^\| `([a-z]+)` \|", text, re.MULTILINE) == families
    first, second = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(first, "defences.md", "exec"), {})
    (change,) = re.findall(r"changes=\['(.*)'\]", second)
    study = find_study("defences")
    config = Asked.of(study, "quick", None, [change]).config("float32")
    cells = [cell for cell in study.cells(config, tiny.DATA) if cell.kind == "train"]
    assert [cell.name for cell in cells] == ["VGG-16", "VGG-OPU", "VGG-16 dropout", "VGG-OPU dropout"]
    assert [cell.spec.dropout for cell in cells] == [0, 0, 0.5, 0.5]
    with pytest.raises(ValueError, match="did you mean 'smoothed'"):
        Asked.of(study, "quick", None, ["families+=smooth"]).config("float32")
