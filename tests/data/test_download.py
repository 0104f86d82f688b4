import errno
import os
import socket
from dataclasses import replace
from types import SimpleNamespace

import pytest

from groundglass.core import DiskFullError
from groundglass.data import download
from groundglass.data.cifar import CIFAR10, read_cifar
from groundglass.data.download import DownloadError, fetch
from tests.data.conftest import TINY


def left_behind(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_an_archive_is_fetched_checked_and_unpacked(tiny, served, loopback, tmp_path):
    layout = served(tiny)
    folder = fetch(layout, tmp_path / "new" / "data", base_url=loopback)
    assert folder == tmp_path / "new" / "data" / layout.folder
    train, test = read_cifar(layout, folder)
    assert len(train) == layout.records[0] * len(layout.train)
    assert len(test) == layout.records[1]
    for name in layout.files:
        assert (folder / name).read_bytes() == (tmp_path / "source" / layout.folder / name).read_bytes()
    assert left_behind(folder.parent) == [layout.folder], "the archive and the work folder are gone"


def test_a_folder_is_readable_by_others_as_the_umask_says(served, loopback, tmp_path):
    folder = fetch(served(TINY["cifar10"]), tmp_path / "data", base_url=loopback)
    (tmp_path / "plain").mkdir()
    assert folder.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_corrupted_archive_is_refused_and_removed(served, loopback, tmp_path):
    layout = served(TINY["cifar10"])
    archive = tmp_path / "www" / layout.archive
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)
    with pytest.raises(DownloadError) as error:
        fetch(layout, tmp_path / "data", base_url=loopback)
    for part in (loopback, layout.md5, f"{len(content):,} bytes", "Run again", "--data-dir", "--data shapes"):
        assert part in str(error.value)
    assert "could not be downloaded" not in str(error.value), "one reason, said once"
    assert left_behind(tmp_path / "data") == []


def test_an_archive_that_holds_something_else_is_refused(served, loopback, tmp_path):
    layout = served(TINY["cifar10"])
    with pytest.raises(DownloadError, match=r"does not hold what it should.*elsewhere.*Run again"):
        fetch(replace(layout, folder="elsewhere"), tmp_path / "data", base_url=loopback)
    assert left_behind(tmp_path / "data") == []


def test_a_server_without_the_archive_and_no_server_at_all(loopback, tmp_path):
    with socket.socket() as held:  # bound and not listening: nobody else can open this port meanwhile
        held.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{held.getsockname()[1]}"
        for url, reason in ((loopback, "404"), (nobody, r"cannot be reached \(")):
            says = rf"{url}/{CIFAR10.archive} could not be downloaded.*{reason}.*Run again"
            with pytest.raises(DownloadError, match=says):
                fetch(CIFAR10, tmp_path / "data", base_url=url)
            assert left_behind(tmp_path / "data") == []


@pytest.mark.parametrize(
    ("error", "raised"),
    [(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), DiskFullError), (KeyboardInterrupt(), KeyboardInterrupt)],
)
def test_a_full_disk_or_an_interrupt_leaves_nothing(served, loopback, tmp_path, monkeypatch, error, raised):
    def fail(source, target):
        target.write(source.read(100))
        raise error

    layout = served(TINY["cifar10"])
    monkeypatch.setenv("GROUNDGLASS_CIFAR_URL", loopback + "/")  # a mirror, named by the environment
    with monkeypatch.context() as patch:
        patch.setattr(download, "shutil", SimpleNamespace(copyfileobj=fail))  # ours, not the server's
        with pytest.raises(raised, match="cifar10 was not put into" if raised is DiskFullError else None):
            fetch(layout, tmp_path / "data")
    assert left_behind(tmp_path / "data") == []
    assert fetch(layout, tmp_path / "data").is_dir()


def test_of_two_that_download_the_slower_one_keeps_what_is_there(served, loopback, tmp_path):
    layout = served(TINY["cifar10"])
    first = fetch(layout, tmp_path / "data", base_url=loopback)
    stamp = (first / layout.test[0]).stat().st_ino
    assert fetch(layout, tmp_path / "data", base_url=loopback) == first
    assert (first / layout.test[0]).stat().st_ino == stamp
    assert left_behind(tmp_path / "data") == [layout.folder]


def test_a_place_that_cannot_be_written(served, loopback, tmp_path):
    layout = served(TINY["cifar10"])
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match=r"could not be downloaded to .*file.*--data-dir"):
        fetch(layout, tmp_path / "file" / "data", base_url=loopback)
