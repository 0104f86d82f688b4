"""Small data sets in the published layout, with pixels that tests can predict, and a server on loopback."""

import hashlib
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from groundglass.data.cifar import CIFAR10, CIFAR100, Layout

TINY = {
    "cifar10": replace(CIFAR10, records=(4, 6)),
    "cifar100": replace(CIFAR100, records=(9, 5)),
}


def pixel(file: int, record: int, channel: int, row: int, column: int) -> int:
    """The byte that `write_layout` puts there; differs between any two neighbours along any axis."""
    return (17 * file + 31 * record + 101 * channel + 7 * row + 3 * column) % 256


def label(file: int, record: int, classes: int) -> int:
    return (3 * file + 5 * record + 1) % classes


def write_layout(layout: Layout, data_dir: Path) -> Path:
    """Write all files of `layout`, byte by byte from the format's description."""
    folder = data_dir / layout.folder
    folder.mkdir(parents=True)
    for file, name in enumerate((*layout.train, *layout.test)):
        count = layout.records[1 if name in layout.test else 0]
        content = bytearray()
        for record in range(count):
            content += bytes(label(file, record, classes) for classes in layout.label_classes)
            for channel in range(3):
                for row in range(32):
                    content += bytes(pixel(file, record, channel, row, column) for column in range(32))
        (folder / name).write_bytes(content)
    lines = "".join(f"class_{k}\n" for k in range(layout.label_classes[-1]))
    (folder / layout.names).write_text(lines + "\n")  # the published file ends in an empty line
    return folder


@pytest.fixture(params=["cifar10", "cifar100"])
def tiny(request: pytest.FixtureRequest) -> Layout:
    """The layout of either data set, with a handful of images."""
    return TINY[request.param]


@pytest.fixture
def served(tmp_path: Path) -> Callable[[Layout], Layout]:
    """Put a layout's archive into `tmp_path / "www"`; returns the layout with that archive's checksum."""

    def serve(layout: Layout) -> Layout:
        source = tmp_path / "source"
        write_layout(layout, source)
        www = tmp_path / "www"
        www.mkdir(exist_ok=True)
        with tarfile.open(www / layout.archive, "w:gz") as tar:
            tar.add(source / layout.folder, arcname=layout.folder)
        return replace(layout, md5=hashlib.md5((www / layout.archive).read_bytes()).hexdigest())

    return serve


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def loopback(tmp_path: Path) -> Iterator[str]:
    """The URL of a server on 127.0.0.1 that serves `tmp_path / "www"`."""
    (tmp_path / "www").mkdir(exist_ok=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(tmp_path / "www")))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()
