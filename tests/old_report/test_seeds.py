from statistics import mean, stdev

import pytest

from groundglass import cli
from groundglass.results import Record, RecordStore
from groundglass.results.seeds import over_seeds

CLEAN = (0.81, 0.83, 0.86)
ROBUST = (0.4, 0.1, 0.7)


def folder(root, seed, *, recipe="laptop", eps=0.1, robust=True, epochs=3):
    manifest = {
        "study": "white-box",
        "recipe": recipe,
        "data": "cifar10",
        "config": {"seed": seed, "hybrid": {"epochs": epochs}},
        "seed": seed,
        "versions": {},
        "machine": {},
        "started": "2026-01-01T00:00:00+00:00",
    }
    path = root / f"{recipe}-{seed}-{eps}-{epochs}"
    with RecordStore.open(path, manifest) as store:
        shared = {"seconds": 1.0, "finished": "2026-01-01T00:00:00+00:00"}
        trained = {"training": {"epochs": 3}, "seed": seed}
        result = {"clean_accuracy": CLEAN[seed]}
        store.add(Record(key=f"{seed:012x}", kind="train", name="VGG-16", config=trained, result=result, **shared))
        if robust:
            attack = {"eps": eps, "seed": seed, "settings": {"steps": 5}}
            result = {"robust_accuracy": ROBUST[seed]}
            store.add(Record(key=f"{seed + 9:012x}", kind="attack", name="PGD", config=attack, result=result, **shared))
        store.add(Record(key=f"{seed + 99:012x}", kind="check", name="c", config={}, result={"passed": True}, **shared))
    return path


def test_mean_and_spread_over_seeds(tmp_path, capsys):
    folders = [folder(tmp_path, seed) for seed in range(3)]
    clean, robust = over_seeds(folders)
    assert clean.values == CLEAN
    assert (robust.mean, robust.spread) == (pytest.approx(mean(ROBUST)), pytest.approx(stdev(ROBUST)))
    assert cli.main(["seeds", *map(str, folders)]) == 0
    shown = capsys.readouterr().out
    assert f"| VGG-16 | clean accuracy | {100 * mean(CLEAN):.2f} | {100 * stdev(CLEAN):.2f} | 81.00 | 86.00 |" in shown
    assert "of 3 seeds" in shown


def test_only_what_all_have_with_the_same_settings_is_averaged(tmp_path):
    figures = over_seeds([folder(tmp_path / "a", 0), folder(tmp_path / "a", 1, robust=False)])
    assert [f.name for f in figures] == ["VGG-16"]
    figures = over_seeds([folder(tmp_path / "b", 0), folder(tmp_path / "b", 2, eps=0.2)])
    assert [f.name for f in figures] == ["VGG-16"]


def test_what_cannot_be_averaged_is_refused(tmp_path, capsys):
    one = folder(tmp_path, 0)
    with pytest.raises(ValueError, match="at least two"):
        over_seeds([one])
    with pytest.raises(ValueError, match="same seed twice"):
        over_seeds([one, one])
    with pytest.raises(ValueError, match="another recipe"):
        over_seeds([one, folder(tmp_path, 1, recipe="paper")])
    with pytest.raises(ValueError, match=r"other settings .*epochs"):
        over_seeds([one, folder(tmp_path, 1, epochs=4)])
    assert cli.main(["seeds", str(one), str(tmp_path / "none")]) == 1
    assert "none" in capsys.readouterr().err
