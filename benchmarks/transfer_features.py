"""Are the images that fail to transfer to a VGG-OPU held off by its layer, or by its features?

    python benchmarks/transfer_features.py --run runs/cifar10 --data-dir FOLDER

The transfer study's own adversarial images, audited once more, shown to its targets and to the networks whose features the two
VGG-OPUs have: VGG-DFA and VGG-DFA lower, as the features were trained, under a linear head and without a layer. Accuracy on
those of the common images that all of them get right untouched, with 95% Wilson intervals. `--run` is a complete folder of
`groundglass run all` or `groundglass run transfer` with `--recipe laptop`, networks and all. Some minutes; nothing is written.
"""

import argparse
from pathlib import Path

import torch

from groundglass.attacks import Ensemble, GradientAccess, load_adversarial
from groundglass.data import load
from groundglass.evaluation import RecordStore
from groundglass.evaluation.statistics import Proportion
from groundglass.models import load_model, predict_logits
from groundglass.optics import DeviceStore

TARGETS = ("VGG-16", "VGG-16 lower", "VGG-DFA", "VGG-OPU higher", "VGG-DFA lower", "VGG-OPU lower")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--attacks", nargs="+", default=["PGD", "MI-DI", "Own VGG-DFA"])
    parser.add_argument("--eps", nargs="+", type=float, default=[0.04, 0.1], help="on the paper's axis")
    asked = parser.parse_args()

    store, devices = RecordStore.read(asked.run), DeviceStore(asked.run / "devices")
    crafts = {
        (r.config["label"], r.config["eps_paper"]): r
        for r in store.records
        if r.kind == "craft"
        and r.config["label"] in asked.attacks
        and r.config["eps_paper"] in asked.eps
        and r.config["purpose"] == "transfer"
    }
    missing = [f"{a} at {e:g}" for a in asked.attacks for e in asked.eps if (a, e) not in crafts]
    if missing:
        raise SystemExit(f"{asked.run} has no adversarial images of {', '.join(missing)}")
    checkpoints = {
        r.name: r.result["checkpoint"] for r in store.records if r.name in TARGETS and "checkpoint" in r.result
    }
    if lacking := [name for name in TARGETS if name not in checkpoints]:
        raise SystemExit(f"{asked.run} has no {', '.join(lacking)}: the laptop recipe's transfer study trains them")
    models = {name: load_model(asked.run / checkpoints[name], find_device=devices.find) for name in TARGETS}

    first = store.get(next(iter(crafts.values())).inputs[0])
    index = torch.from_numpy(store.arrays(first)["index"])
    test = load(store.manifest["data"], data_dir=asked.data_dir).test
    images, labels = test.floats(index), test.labels[index]

    def right(model: torch.nn.Module, shown: torch.Tensor) -> torch.Tensor:
        return predict_logits(model, shown).argmax(1) == labels

    common = torch.stack([right(model, images) for model in models.values()]).all(0)
    print(f"{int(common.sum()):,} of the {len(labels):,} common images are right under all of {', '.join(TARGETS)}.\n")
    print(f"| network | {' | '.join(f'{a}, ε {e:g}' for a in asked.attacks for e in asked.eps)} |")
    print("|---" * (1 + len(asked.attacks) * len(asked.eps)) + "|")
    rows: dict[str, list[str]] = {name: [] for name in TARGETS}
    for attack in asked.attacks:
        for eps in asked.eps:
            craft = crafts[attack, eps]
            sources = [store.get(key) for key in craft.inputs[1:]]
            made_on = [load_model(asked.run / r.result["checkpoint"], find_device=devices.find) for r in sources]
            access = GradientAccess(made_on[0] if len(made_on) == 1 else Ensemble(made_on))
            found = load_adversarial(asked.run / craft.result["file"], images, labels, access, indices=index)
            for name, model in models.items():
                kept = right(model, found.adversarial)[common]
                share = Proportion(int(kept.sum()), len(kept))
                low, high = share.interval
                rows[name].append(f"{100 * share.share:.1f} ({100 * low:.1f}–{100 * high:.1f})")
    for name, cells in rows.items():
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
