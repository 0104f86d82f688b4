import json
import re
from dataclasses import replace
from functools import cache

import pytest
from groundglass.studies.recipes import configure, find_recipe

from groundglass.attacks import NES, Square
from groundglass.old_report import build
from groundglass.results import RecordStore
from groundglass.studies import (
    RECIPES,
    AblationConfig,
    BlackBoxConfig,
    EverythingConfig,
    RedrawConfig,
    RetrievalConfig,
    ScaleConfig,
    TransferConfig,
    WhiteBoxConfig,
)
from groundglass.studies.adversarial_training.study import AdversarialTrainingConfig
from groundglass.studies.cells.cost import CostGrid
from groundglass.studies.cells.network import TrainCell
from groundglass.studies.engine.cell import key_of
from groundglass.studies.engine.run import _check_names as check_names
from groundglass.studies.everything import cells
from groundglass.training import PGDTraining
from groundglass.training.classifier import FINE_TUNING

from .pictures import pictures
from .tiny import enter, records, run, targets

DATA = pictures("shapes", n_train=300, n_test=60)

pytestmark = pytest.mark.filterwarnings("ignore:.* steps of .* cannot reach:RuntimeWarning")


def tiny_everything(data, seed, precision):
    shared = targets(data, seed, precision, epochs=3)
    return EverythingConfig(
        **shared,
        white_box=WhiteBoxConfig(
            **shared,
            n_images=10,
            eps_paper=(0.1,),
            eps_l2=(),
            steps=3,
            step_size=0.05,
            fit_images=60,
            rules=("dfa", "exact"),
        ),
        black_box=BlackBoxConfig(
            **shared,
            n_images=6,
            eps=0.1,
            budget=30,
            sigmas=(1.0,),
            nes=NES(samples=10),
            others=(Square(),),
            reference_steps=3,
        ),
        transfer=TransferConfig(
            **shared,
            lower=replace(shared["hybrid"], epochs=2),
            lower_classifier=replace(shared["hybrid"], epochs=2),
            n_images=20,
            eps_paper=(0.4,),
            stronger_eps_paper=(0.4,),
            steps=4,
            step_paper=0.15,
            stronger_steps=3,
            fit_images=60,
        ),
        redraw=RedrawConfig(**shared, redraws=1, n_images=20, eps=0.2, steps=4, budget=30, fit_images=60),
        retrieval=RetrievalConfig(
            **shared,
            n_images=10,
            eps_paper=(0.1,),
            steps=3,
            step_size=0.05,
            fit_images=60,
            queries=(8,),
            blurs=(0.3,),
            periods=(0.2,),
            sizes=(),
            noises=(),
            bits=(),
            saturations=(),
            sweep_in=48,
            sweep_rows=8,
        ),
    )


def tiny_whole(data, seed, precision):
    """All eight, in two stages where the laptop recipe has them."""
    whole = tiny_everything(data, seed, precision)
    shared = targets(data, seed, precision, epochs=3)
    return replace(
        whole,
        ablation=AblationConfig(
            **shared,
            classifier=FINE_TUNING,
            features="VGG-DFA",
            n_images=10,
            inputs=(24,),
            outputs=(50,),
            eps_paper=(0.2,),
            steps=2,
            fit_images=60,
            query_images=4,
            query_eps=0.2,
            budget=20,
        ),
        scale=ScaleConfig(
            **shared,
            costs=(CostGrid("dense", square=(64,)),),
            fixed_in=64,
            fixed_out=64,
            batch=4,
            block=64,
            repeats=2,
            laws=(64, 256),
            padded=(65, 300),
            redraws=8,
            networks=((48, 96), (48, 192)),
            shared_in=48,
            n_images=10,
            eps_paper=(0.1,),
            steps=2,
            step_size=0.02,
            fit_images=60,
            rows=16,
        ),
        adversarial_training=AdversarialTrainingConfig(
            **shared, adversarial=PGDTraining(eps=0.02, steps=1), radii=(0.02,), epochs=2
        ),
    )


def test_one_folder_one_page_and_each_network_once(tmp_path, monkeypatch):
    enter(monkeypatch, "all", tiny_everything, cells, DATA)
    folder = tmp_path / "all"
    run("all", folder)
    store = RecordStore.read(folder)
    # The white-box, black-box and redraw studies share two, transfer and redraw the source, transfer and the page all.
    assert [r.name for r in records(folder, "train")] == [
        "VGG-16",
        "VGG-OPU",
        "VGG-DFA",
        "VGG-OPU higher",
        "VGG-DFA lower",
        "VGG-OPU lower",
        "VGG-16 source",
    ]
    files = [r.result["checkpoint"] for kind in ("train", "redraw") for r in records(folder, kind)]
    assert len(set(files)) == len(files)
    plan = json.loads((folder / "study.json").read_text())["cells"]
    assert [c["key"] for c in plan] == [r.key for r in store.records]
    page = build(folder).read_text()
    for anchor in ("answer", "white-box", "black-box", "transfer", "redraw", "networks", "checks"):
        assert f'id="{anchor}"' in page
    for part in ("white-box", "black-box", "transfer"):
        assert f"Verdict, {part}:" in page
    assert 'id="ablation"' not in page
    assert run("all", folder) == 0


def section(page, anchor):
    return page.partition(f'<section id="{anchor}">')[2].partition("</section>")[0]


def test_all_eight_studies_on_one_page_each_with_its_own_records(tmp_path, monkeypatch):
    enter(monkeypatch, "all", tiny_whole, cells, DATA)
    folder = tmp_path / "all"
    run("all", folder)
    page = build(folder).read_text()
    anchors = (
        "audit",
        "answer",
        "white-box",
        "black-box",
        "transfer",
        "redraw",
        "retrieval",
        "ablation",
        "hardened",
        "scale",
    )
    for anchor in anchors:
        assert f'<a href="#{anchor}">' in page
        assert section(page, anchor)
    # A row of a table begins with the network's name.
    rows = {
        anchor: set(re.findall(r"<tr><th>([^<]+)</th><td", section(page, anchor))) for anchor in ("ablation", "scale")
    }
    opus = {"OPU", "OPU batch threshold", "OPU float output", "OPU real U", "OPU M=50", "OPU N=24"}
    assert rows["ablation"] == {"VGG-16", "DFA", "BIN", "RP", *opus}
    assert "calls VGG-DFA" in section(page, "ablation")
    assert "features of VGG-DFA" not in section(page, "ablation")
    networks = {name for name in rows["scale"] if "×" in name or "VGG" in name or name in opus}
    assert {"48 × 96", "48 × 192"} <= networks
    assert not networks & ({"VGG-OPU", "48 × 50"} | opus)
    # The white-box study's own: attacks of the other seven are in their sections.
    assert not re.search("VGG-OPU (higher|AT|48x96)|OPU real U", section(page, "white-box"))
    # Of 22 audits those of the four networks that the whole page is about are open to see, at two radii each.
    shown = section(page, "audit").partition("<details>")[0]
    assert re.findall(r"<tr><th>([^<]+)</th><td", shown) == 2 * ["VGG-16", "VGG-OPU", "VGG-16 AT", "VGG-OPU AT"]
    assert "The audits of 14 more" in section(page, "audit")
    # Eight parts are a box each, of what to remember, that opens for the whole; three have a verdict.
    answer = section(page, "answer")
    boxes = answer.split('<div class="verdict ')[1:]
    assert len(boxes) == 8
    assert [box.startswith("plain") for box in boxes] == 3 * [False] + 5 * [True]
    assert "<strong>The ablation.</strong> What clearly changes how many images stand: " in answer
    folded = re.findall(r"<summary>(.+), in full</summary>\n<p>([^<]+)</p>", answer)
    names = ["White-box", "Black-box", "Transfer", "A new matrix", "The price of the secret", "The ablation", "Size"]
    assert [name for name, _ in folded] == names
    assert dict(folded)["The ablation"].startswith("White-box: ")
    assert "still missing" not in page
    assert "incomplete" not in page


def trainings(planned):
    """Networks by name. A plan with two of one name is refused, as a run refuses it."""
    check_names(planned)
    return {cell.name: cell for cell in planned if cell.kind == "train"}


@cache
def plan(study, data, recipe="laptop"):
    config = configure(study, recipe, data=data, seed=0, precision="float32")
    return find_recipe(study, recipe).plan(config, pictures(data, n_train=10, n_test=10))


@pytest.mark.parametrize("data", ["cifar10", "cifar100"])
def test_the_laptop_recipe_does_every_study_and_trains_each_network_once(data):
    planned = plan("all", data)
    networks = trainings(planned)
    keys = {key_of(cell) for cell in planned}
    for study in {study for study, _ in RECIPES} - {"all"}:
        missing = [cell.name for cell in plan(study, data) if key_of(cell) not in keys]
        assert not missing or missing == ["fit of costs"], study
    # What is shared is one cell: the same weights under three studies' names for them.
    shared = networks["VGG-DFA"]
    for name in ("VGG-OPU higher", "BIN", "RP", "OPU", "OPU M=500", "VGG-OPU 1024x8000", "VGG-OPU 1024x32000"):
        assert key_of(networks[name].features) == key_of(shared), name
    long = [cell.name for cell in networks.values() if isinstance(cell, TrainCell) and not cell.training.adversarial]
    whole = ["VGG-OPU"] if data == "cifar10" else []
    others = ["VGG-16 lower", "VGG-DFA", "VGG-DFA lower", "VGG-DFA source", "DFA N=64", "DFA N=512", "VGG-DFA N=2048"]
    assert sorted(long) == sorted(["VGG-16", "VGG-16 source", *whole, *others])
    hard = {cell.name: cell.training.epochs for cell in networks.values() if cell.training.adversarial}
    assert hard == {"VGG-16 AT": 6, "VGG-OPU AT" if whole else "VGG-DFA AT": 6}
    audits = [cell.name for cell in planned if cell.kind == "audit"]
    assert len(set(audits)) == len(audits)


def test_a_vgg_opu_in_two_stages_is_attacked_beside_its_features_alone():
    """They are all of it but the layer: what they keep, the layer has not bought."""
    for data, expected in (("cifar10", 0), ("cifar100", 8)):
        planned = plan("white-box", data)
        alone = [cell for cell in planned if cell.kind == "attack" and cell.target.name == "VGG-DFA"]
        defended = [cell for cell in planned if cell.kind == "attack" and cell.target.name == "VGG-OPU"]
        assert [cell.rule for cell in alone] == ["bp"] * expected
        of_dfa = {
            (cell.norm, cell.eps, cell.n_images) for cell in defended if cell.rule == "dfa" and not is_control(cell)
        }
        assert {(cell.norm, cell.eps, cell.n_images) for cell in alone} == (of_dfa if expected else set())
        features = {key_of(cell.target) for cell in alone}
        assert features == {key_of(cell.target.features) for cell in defended if expected}
        audits = [cell.name for cell in planned if cell.kind == "audit"]
        assert len(audits) == (3 if expected else 2)


def is_control(cell):
    return cell.config()["purpose"] == "control"


def test_the_long_trainings_come_early_and_the_white_box_study_first():
    planned = plan("all", "cifar10")
    place = {key_of(cell): position for position, cell in enumerate(planned)}
    first = {study: max(place[key_of(cell)] for cell in plan(study, "cifar10")) for study in ("white-box", "transfer")}
    hard = [place[key_of(cell)] for cell in planned if cell.name in ("VGG-16 AT", "VGG-OPU AT")]
    assert first["white-box"] < min(hard) < max(hard) < first["white-box"] + 3 < first["transfer"]
    for position, cell in enumerate(planned):
        assert all(place[key_of(one)] < position for one in cell.inputs), cell.name


def test_the_full_width_differs_from_the_laptop_recipe_in_width_alone():
    ours, theirs = (trainings(plan("white-box", "cifar10", name)) for name in ("full-width", "laptop"))
    assert ours.keys() == theirs.keys()
    for name, cell in ours.items():
        assert cell.spec.width == 1
        assert replace(cell, spec=replace(cell.spec, width=0.25)) == theirs[name]
    rules = {cell.rule for cell in plan("white-box", "cifar10", "full-width") if cell.kind == "attack"}
    assert rules == {"bp", "none", "dfa-fresh", "fa", "bpda-drawn", "dfa", "bpda-fit-linear", "exact"}


def test_quick_leaves_out_what_would_make_it_slow():
    config = configure("all", "quick", data=None, seed=0, precision="float32")
    assert (config.ablation, config.scale, config.adversarial_training) == (None, None, None)
    names = trainings(plan("all", "shapes", "quick"))
    assert set(names) == {
        "VGG-16",
        "VGG-OPU",
        "VGG-DFA",
        "VGG-OPU higher",
        "VGG-DFA lower",
        "VGG-OPU lower",
        "VGG-16 source",
    }


def test_studies_of_other_networks_or_seeds_are_refused():
    whole = tiny_everything("shapes", 0, "float32")
    with pytest.raises(ValueError, match="another `width`"):
        replace(whole, black_box=replace(whole.black_box, width=0.1))
    with pytest.raises(ValueError, match="another `device_in`"):
        replace(whole, redraw=replace(whole.redraw, device_in=96))
    with pytest.raises(ValueError, match="another `seed`"):
        replace(whole, transfer=replace(whole.transfer, seed=1))
    full = tiny_whole("shapes", 0, "float32")
    with pytest.raises(ValueError, match="another `audit_images`"):
        replace(full, ablation=replace(full.ablation, audit_images=8))
    hybrid = replace(full.hybrid, epochs=9)
    with pytest.raises(ValueError, match="another `hybrid`"):
        replace(full, adversarial_training=replace(full.adversarial_training, hybrid=hybrid))
    # Only the features that it transfers to are its own.
    replace(whole, transfer=replace(whole.transfer, device_in=96))
