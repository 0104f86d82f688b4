import json
from dataclasses import replace

import pytest

from groundglass.attacks import NES, Square
from groundglass.evaluation import RecordStore
from groundglass.report import build
from groundglass.studies import (
    BlackBoxConfig,
    EverythingConfig,
    RedrawConfig,
    RetrievalConfig,
    TransferConfig,
    WhiteBoxConfig,
)
from groundglass.studies.everything import cells

from .pictures import pictures
from .tiny import enter, records, run, targets

DATA = pictures("shapes", n_train=300, n_test=60)

pytestmark = pytest.mark.filterwarnings("ignore:.* steps of .* cannot reach:RuntimeWarning")


def tiny_everything(data, seed, precision):
    shared = targets(data, seed, precision)
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


def test_studies_of_other_networks_or_seeds_are_refused():
    whole = tiny_everything("shapes", 0, "float32")
    with pytest.raises(ValueError, match="another `width`"):
        replace(whole, black_box=replace(whole.black_box, width=0.1))
    with pytest.raises(ValueError, match="another `device_in`"):
        replace(whole, redraw=replace(whole.redraw, device_in=96))
    with pytest.raises(ValueError, match="another `seed`"):
        replace(whole, transfer=replace(whole.transfer, seed=1))
    # Only the features that it transfers to are its own.
    replace(whole, transfer=replace(whole.transfer, device_in=96))
