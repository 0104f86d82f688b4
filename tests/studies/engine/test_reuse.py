"""Networks and devices of another run folder. That nothing is trained again, the contract of every study tests."""

import shutil

import pytest

from groundglass.attacks import RandomNoise
from groundglass.core import DamagedFileError
from groundglass.results import Run
from groundglass.results.bundle import CompactCopyError
from groundglass.results.compact import compact
from groundglass.results.kinds import ATTACK, DEVICE, TRAIN
from groundglass.results.made import made_file
from groundglass.studies.cells import network as network_module
from groundglass.studies.engine.cell import with_inputs
from groundglass.studies.kit import attack_cell
from groundglass.studies.kit import targets as target_cells
from tests.altered import rewrite
from tests.studies.tiny import Listener, enter, run, white_box


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        # VGG-OPU first, so its device before all.
        enter(patch, "white-box", white_box, cells=lambda *asked: with_inputs(reversed(target_cells(*asked))))
        run("white-box", folder)
        yield Run.open(folder)


def training(patch, what):
    train = network_module.train
    patch.setattr(network_module, "train", lambda *a, **k: what(k["name"]) or train(*a, **k))


def test_networks_come_with_their_devices(finished, tmp_path, monkeypatch):
    training(monkeypatch, lambda name: pytest.fail(f"{name} was trained again"))
    assert run("white-box", tmp_path, reuse=[finished.folder], device_seed=None) == 0
    ours, theirs = ({r.key: r.result for r in one.records} for one in (Run.open(tmp_path), finished))
    assert ours == theirs
    for path in (p for p in finished.folder.rglob("*") if p.parent.name in ("devices", "models") and p.is_file()):
        assert (tmp_path / path.relative_to(finished.folder)).read_bytes() == path.read_bytes()


def test_a_network_is_not_reused_on_another_device(finished, tmp_path, monkeypatch):
    """The folder has a device of its own already: the other network's weights are for another secret."""
    with pytest.raises(KeyboardInterrupt):
        run("white-box", tmp_path, device_seed=8, listener=Listener(at="VGG-OPU"))
    (device,) = Run.open(tmp_path).entries(DEVICE)
    trained = []
    training(monkeypatch, trained.append)
    run("white-box", tmp_path, device_seed=8, reuse=[finished.folder])
    assert trained == ["VGG-OPU"]
    found = {entry.name: entry.result for entry in Run.open(tmp_path).entries(TRAIN)}
    assert found["VGG-OPU"].device.fingerprint == device.result.fingerprint


def test_an_altered_folder_is_not_taken_over(finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "altered")
    path = next((tmp_path / "altered" / "devices").glob("*.device"))
    path.write_text(path.read_text().replace("1", "2"))
    with pytest.raises((DamagedFileError, ValueError)):
        run("white-box", tmp_path / "new", reuse=[tmp_path / "altered"])


def altered(finished, tmp_path, change):
    shutil.copytree(finished.folder, tmp_path / "altered")
    rewrite(tmp_path / "altered", lambda line: line["kind"] == "train" and change(line))
    return tmp_path / "altered"


@pytest.mark.parametrize(
    "path", ["../../victim.safetensors", "/tmp/victim.safetensors", "models/../../victim.safetensors"]
)
def test_a_path_in_a_record_is_not_believed(finished, tmp_path, path):
    victim = tmp_path / "victim.safetensors"
    victim.write_text("mine")
    other = altered(finished, tmp_path, lambda line: (line["result"].update(checkpoint=path), line.pop("files")))
    with pytest.raises(DamagedFileError, match="is not the name of a file"):
        run("white-box", tmp_path / "a" / "b", reuse=[other])
    assert victim.read_text() == "mine"


def test_a_network_takes_the_name_that_this_study_gives_it(finished, tmp_path, monkeypatch):
    def renamed(line):
        path = line["result"]["checkpoint"]
        name = path.replace("models/", "models/theirs-")
        (tmp_path / "altered" / path).rename(tmp_path / "altered" / name)
        line["result"]["checkpoint"], line["files"] = name, {name: line["files"][path]}

    other = altered(finished, tmp_path, renamed)
    training(monkeypatch, lambda name: pytest.fail(f"{name} was trained again"))
    assert run("white-box", tmp_path / "new", reuse=[other], device_seed=None) == 0
    for record in Run.open(tmp_path / "new").records:
        if record.kind == "train":
            (name,) = record.files
            assert name == record.result["checkpoint"]
            assert "theirs" not in name
            assert made_file(tmp_path / "new", record, name).is_file()


def test_a_network_that_was_exchanged_is_noticed(finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "altered")
    one, other, *_ = sorted((tmp_path / "altered" / "models").glob("vgg-*.safetensors"))
    one.write_bytes(other.read_bytes())
    with pytest.raises(DamagedFileError, match=f"{one.name} was altered, or is not the file that the record"):
        run("white-box", tmp_path / "new", reuse=[tmp_path / "altered"])
    one.unlink()
    one.symlink_to(other)
    with pytest.raises(DamagedFileError, match="is a link"):
        run("white-box", tmp_path / "new", reuse=[tmp_path / "altered"])
    one.unlink()
    with pytest.raises(FileNotFoundError, match="put it back"):
        run("white-box", tmp_path / "new", reuse=[tmp_path / "altered"])


@pytest.fixture(scope="module")
def compacted(tmp_path_factory):
    """Each network under noise, of a run folder that is gone."""
    made = tmp_path_factory.mktemp("compacted")
    with pytest.MonkeyPatch.context() as patch:
        enter(patch, "white-box", white_box, cells=noisy(0.02))
        run("white-box", made / "whole", device_seed=7)
        compact(made / "whole", made / "copy")
        whole = Run.open(made / "whole")
        yield whole, made / "copy"


def noisy(*radii):
    def cells(config, dataset):
        targets = target_cells(config, dataset)
        attacks = [attack_cell(config, one, "none", RandomNoise(), eps=eps) for eps in radii for one in targets]
        return with_inputs(attacks)

    return cells


def cells_that_ran(monkeypatch, folder, copy, cells):
    enter(monkeypatch, "white-box", white_box, cells=cells)
    told = Listener()
    run("white-box", folder, device_seed=7, reuse=[copy], listener=told)
    return told.names


def test_of_a_compact_copy_what_needs_no_network_is_taken(compacted, tmp_path, monkeypatch):
    whole, copy = compacted
    ran = cells_that_ran(monkeypatch, tmp_path / "new", copy, noisy(0.02))
    assert ran == []
    assert [r.result for r in Run.open(tmp_path / "new").records] == [r.result for r in whole.records]
    manifest = Run.open(tmp_path / "new").manifest
    assert manifest["started"] == whole.manifest["started"], "its machine is that of the copy"


def test_what_a_missing_result_needs_is_made_again_with_all_that_came_of_it(compacted, tmp_path, monkeypatch):
    whole, copy = compacted

    def one_more(config, dataset):
        baseline = target_cells(config, dataset)[0]
        more = attack_cell(config, baseline, "none", RandomNoise(), eps=0.2)
        return [*noisy(0.02)(config, dataset), more]

    ran = cells_that_ran(monkeypatch, tmp_path / "new", copy, one_more)
    assert ran[0] == "VGG-16"
    assert len(ran) == 3, "its old result, too; nothing of VGG-OPU"
    assert all("VGG-16" in name for name in ran)
    ours, theirs = (
        {e.key: e.record.result for e in one.entries(ATTACK)} for one in (Run.open(tmp_path / "new"), whole)
    )
    assert {key: ours[key] for key in theirs} == theirs


def test_only_a_new_folder_begins_with_a_copy(compacted, tmp_path, monkeypatch):
    _, copy = compacted
    enter(monkeypatch, "white-box", white_box, cells=noisy(0.02))
    with pytest.raises(KeyboardInterrupt):
        run("white-box", tmp_path / "new", device_seed=7, listener=Listener(at="VGG-16"))
    with pytest.raises(CompactCopyError, match="was begun without them"):
        run("white-box", tmp_path / "new", device_seed=7, reuse=[copy])
