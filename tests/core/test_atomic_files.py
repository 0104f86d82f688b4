import errno
import json
import os

import pytest

from groundglass.core import DamagedFileError, DiskFullError, atomic_write, read_json, remove_parts, write_json
from groundglass.core.files import ABANDONED, is_part
from groundglass.core.platform import host


def test_a_failure_leaves_what_was_there_and_no_litter(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"x": 1})

    def fail_half_way():
        with atomic_write(path) as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert read_json(path) == {"x": 1}
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_full_disk_says_so(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"before")
    with pytest.raises(DiskFullError, match="disk is full"), atomic_write(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_real_full_device(tmp_path, monkeypatch):
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, *a: real("/dev/full", os.O_WRONLY))
    with pytest.raises(DiskFullError), atomic_write(tmp_path / "a") as file:
        file.write(b"x" * 100_000)


def test_private_files_are_their_owners_alone(tmp_path):
    with atomic_write(tmp_path / "secret", private=True) as file:
        file.write(b"s")
        assert all(os.stat(tmp_path / name).st_mode & 0o077 == 0 for name in os.listdir(tmp_path))
    assert os.stat(tmp_path / "secret").st_mode & 0o777 == 0o600


def test_truncated_json_is_damaged(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"x": [1, 2]})[:-2])
    with pytest.raises(DamagedFileError, match="truncated or altered"):
        read_json(path)


def die_while_writing(path, *, private):
    """A process that is killed in the middle of `atomic_write`."""
    child = os.fork()
    if not child:
        with atomic_write(path, private=private) as file:
            file.write(b"half")
            file.flush()
            os._exit(9)
    os.waitpid(child, 0)


def test_unfinished_files_of_the_dead_are_removed_and_nothing_else(tmp_path):
    deep = tmp_path / "deep" / "er"
    deep.mkdir(parents=True)
    old = [tmp_path / ".b.json.12345.part", deep / ".c.device.12345.part"]  # of earlier versions
    kept = [tmp_path / name for name in (".readings.npy.part", "part", "d.12345.part", ".film.mp4.12345.part")]
    for path in (*old, *kept):
        path.touch()
    (tmp_path / f".link.json.{'0' * 16}.part").symlink_to(kept[0])
    die_while_writing(deep / "a.json", private=False)
    assert len(list(deep.iterdir())) == 2, "the detector detects"
    with atomic_write(deep / "living") as file:
        remove_parts(tmp_path)
        file.write(b"whole")
    assert [path.name for path in deep.iterdir()] == ["living"]
    assert (deep / "living").read_bytes() == b"whole"
    assert not any(path.exists() for path in old)
    assert all(path.exists() for path in kept)


def test_a_part_of_another_host_stays_until_it_is_old_and_without_a_lock(tmp_path, monkeypatch):
    monkeypatch.setattr("groundglass.core.platform._node_name", lambda: "Node_7.cluster.example.org")
    die_while_writing(tmp_path / "a", private=False)
    with atomic_write(tmp_path / "b") as living:
        assert all(".@node-7" in path.name and is_part(path.name) for path in tmp_path.iterdir())
        monkeypatch.setattr("groundglass.core.platform._node_name", lambda: "node8")
        remove_parts(tmp_path)
        assert len(list(tmp_path.iterdir())) == 2, "neither is old"
        for path in tmp_path.iterdir():
            os.utime(path, (0, path.stat().st_mtime - ABANDONED - 60))
        remove_parts(tmp_path)
        assert len(list(tmp_path.iterdir())) == 1, "one is locked"
        living.write(b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_part_has_room_for_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr("groundglass.core.platform._node_name", lambda: "é" * 64)
    path = tmp_path / ("ü" * 127)
    with atomic_write(path) as file:
        assert all(is_part(one.name) for one in tmp_path.iterdir())
        file.write(b"x")
    assert path.read_bytes() == b"x"
    names = set()
    for name in ("n" * 63 + "1", "n" * 63 + "2", "", "../x\n"):
        monkeypatch.setattr("groundglass.core.platform._node_name", lambda name=name: name)
        names.add(host())
    assert len(names) == 4
    assert all(0 < len(name) <= 24 and set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") for name in names)


def test_where_files_cannot_be_locked_all_parts_stay(tmp_path, monkeypatch):
    def refused(*args):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refused)
    die_while_writing(tmp_path / "a", private=False)
    remove_parts(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_process_that_is_killed_leaves_no_private_file_where_the_system_can_help_it(tmp_path, monkeypatch):
    if not hasattr(os, "O_TMPFILE"):
        pytest.skip("no files without names here")
    die_while_writing(tmp_path / "secret", private=True)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.delattr(os, "O_TMPFILE")
    die_while_writing(tmp_path / "secret", private=True)
    (part,) = tmp_path.iterdir()
    assert part.stat().st_mode & 0o777 == 0o600
    remove_parts(tmp_path, below=False)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(params=["as it is", "no unnamed files", "no links"])
def file_system(request, monkeypatch):
    """Of several kinds."""
    if request.param != "as it is":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    if request.param == "no links":

        def refused(*args, **options):
            raise PermissionError(errno.EPERM, "no links here")

        monkeypatch.setattr(os, "link", refused)


@pytest.mark.parametrize("private", [False, True])
def test_a_new_file_never_takes_the_place_of_another(tmp_path, file_system, private):
    path = tmp_path / "a"

    def write(text, new):
        with atomic_write(path, private=private, new=new) as file:
            file.write(text)

    def two_at_once():
        """Both begin when there is no such file."""
        with atomic_write(path, private=private, new=True) as file:
            write(b"first", new=True)
            file.write(b"second")

    with pytest.raises(FileExistsError, match="is there already"):
        two_at_once()
    assert path.read_bytes() == b"first"
    write(b"third", new=False)
    assert path.read_bytes() == b"third"
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError, match="is there already"):
        write(b"fourth", new=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_nobody_can_own_the_file_that_is_written_to(tmp_path, monkeypatch, file_system):
    """Whoever guesses the name and puts a link or a file there gets nothing, and the write fails."""
    monkeypatch.setattr("secrets.token_hex", lambda count: "0" * 2 * count)
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    part, bait = tmp_path / f".a.@{host()}.{'0' * 16}.part", tmp_path / "bait"
    for put in (lambda: part.symlink_to(bait), bait.touch, lambda: part.unlink() or part.touch(mode=0o666)):
        put()
        with pytest.raises(FileExistsError), atomic_write(tmp_path / "a", private=True) as file:
            file.write(b"secret")
        assert not bait.exists() or not bait.read_bytes()
        assert not (tmp_path / "a").exists()
        assert os.path.lexists(part), "what it did not make it does not remove"
    monkeypatch.undo()
    part.unlink()
    names = set()
    for _ in range(3):
        with atomic_write(tmp_path / "a") as file:
            names |= {name for name in os.listdir(tmp_path) if name.endswith(".part")}
            file.write(b"x")
    assert len(names) == 3


def calls_of(monkeypatch):
    """What reaches the disk, in order: ("fsync", path), ("name", path)."""
    told = []
    real = {name: getattr(os, name) for name in ("fsync", "replace", "link", "mkdir")}

    def fsync(fd):
        real["fsync"](fd)
        told.append(("fsync", os.readlink(f"/proc/self/fd/{fd}")))

    def named(name):
        def call(source, target, **options):
            real[name](source, target, **options)
            told.append(("name", str(target)))

        return call

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", named("replace"))
    monkeypatch.setattr(os, "link", named("link"))
    return told


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs /proc")
@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("new", [False, True])
def test_the_file_is_on_the_disk_then_its_name_is_then_the_folder(tmp_path, monkeypatch, private, new):
    told = calls_of(monkeypatch)
    path = tmp_path / "made" / "too" / "a.json"
    with atomic_write(path, private=private, new=new) as file:
        file.write(b"x")
    synced = [where for what, where in told if what == "fsync"]
    # The folders that it had to make, too.
    assert set(synced[:2]) == {str(tmp_path), str(tmp_path / "made")}
    # Its content before its name, and the folder last of all.
    assert told[-1] == ("fsync", str(path.parent))
    assert ".part" in synced[-2] or "deleted" in synced[-2] or "/#" in synced[-2]
    last_name = max(place for place, (what, _) in enumerate(told) if what == "name")
    assert told.index(("fsync", synced[-2])) < last_name
