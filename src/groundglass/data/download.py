"""Data sets are downloaded once, checked against the published checksum, and unpacked."""

import errno
import hashlib
import os
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

from groundglass.core import DiskFullError, atomic_write, make_folder, publish
from groundglass.core.imported import require
from groundglass.data.cifar import Layout

OFFICIAL_URL = "https://www.cs.toronto.edu/~kriz"
MIRROR_VARIABLE = "GROUNDGLASS_CIFAR_URL"
_TIMEOUT_SECONDS = 60.0
_CHUNK_BYTES = 1 << 18


class DownloadError(OSError):
    """A data set could not be downloaded, or its checksum is wrong. No files are left behind."""


def fetch(layout: Layout, data_dir: Path, *, base_url: str | None = None) -> Path:
    """Download a data set's archive, check it, and unpack what is read from it into `data_dir`; the data set's folder.

    The folder appears in one step, whole. The archive is not kept.

    Args:
        data_dir: made when missing. Needs room for the archive and its contents, about 350 MB for CIFAR.
        base_url: where the archive lies; default GROUNDGLASS_CIFAR_URL, else the authors' site. The checksum is the
            same wherever it comes from.

    Raises:
        DownloadError: no connection, no such file on the server, a wrong checksum, a folder that cannot be written.
        DiskFullError: no room.
    """
    url = f"{(base_url or os.environ.get(MIRROR_VARIABLE) or OFFICIAL_URL).rstrip('/')}/{layout.archive}"
    target = data_dir / layout.folder
    try:
        make_folder(data_dir)
        # Within data_dir, so that the last step is a rename and not a copy.
        with tempfile.TemporaryDirectory(dir=data_dir, prefix=f".{layout.folder}.", suffix=".part") as work:
            archive = _download(url, layout, Path(work))
            unpacked = Path(work) / layout.folder
            _unpack(archive, layout, unpacked)
            _put(unpacked, target)
    except DownloadError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                error.errno, f"the disk is full: {layout.name} was not put into {data_dir}. {_choices(layout)}"
            ) from error
        raise DownloadError(
            f"{url} could not be downloaded to {data_dir}: {_reason(error)}. {_choices(layout)}"
        ) from error
    return target


def _reason(error: OSError) -> str:
    """Without the retries and connection pools that `requests` mentions."""
    import requests  # late, as above

    if isinstance(error, requests.Timeout):
        return f"the server was silent for {_TIMEOUT_SECONDS:.0f} s"
    unreachable = isinstance(error, requests.ConnectionError)
    if unreachable and not isinstance(error, requests.exceptions.SSLError | requests.exceptions.ProxyError):
        return "the server cannot be reached (no network, or the connection was refused)"
    return str(error)


def _download(url: str, layout: Layout, folder: Path) -> Path:
    require("a download", "requests", "rich")
    import requests  # late: only a download needs it, and rich with it
    from rich import progress
    from rich.console import Console

    path, checksum = folder / layout.archive, hashlib.md5()
    columns = (progress.DownloadColumn(), progress.TransferSpeedColumn(), progress.TimeRemainingColumn())
    bar = progress.Progress(
        progress.TextColumn(layout.archive),
        progress.BarColumn(),
        *columns,
        console=Console(file=sys.stderr),
        disable=not sys.stderr.isatty(),
    )
    with requests.get(url, stream=True, timeout=_TIMEOUT_SECONDS) as answer, open(path, "wb") as file, bar:
        answer.raise_for_status()
        task = bar.add_task(layout.archive, total=int(answer.headers.get("content-length", 0)) or None)
        for chunk in answer.iter_content(_CHUNK_BYTES):
            file.write(chunk)
            checksum.update(chunk)
            bar.advance(task, len(chunk))
    if checksum.hexdigest() != layout.md5:
        raise DownloadError(
            f"{url} is not the published archive: its md5 is {checksum.hexdigest()} and must be {layout.md5} "
            f"({path.stat().st_size:,} bytes came). The download was cut or altered on the way, and was thrown "
            f"away. {_choices(layout)}"
        )
    return path


def _unpack(archive: Path, layout: Layout, folder: Path) -> None:
    """Only the files that are read, by name: nothing an archive says can write elsewhere."""
    folder.mkdir()
    try:
        with tarfile.open(archive) as tar:
            for name in layout.files:
                member = tar.extractfile(f"{layout.folder}/{name}")
                if member is None:
                    raise KeyError(name)
                with member, atomic_write(folder / name) as file:
                    shutil.copyfileobj(member, file)
    except (KeyError, tarfile.TarError, EOFError) as error:
        raise DownloadError(f"{layout.archive} does not hold what it should: {error}. {_choices(layout)}") from error


def _put(unpacked: Path, target: Path) -> None:
    try:
        publish(unpacked, target)
    except OSError:
        # Another process downloaded it too and was faster: its folder is as good as ours.
        if not target.is_dir():
            raise


def _choices(layout: Layout) -> str:
    return (
        f"Run again; or unpack {layout.archive} by hand and name the folder that holds {layout.folder}/ by --data-dir "
        f"or GROUNDGLASS_DATA; or name a mirror by {MIRROR_VARIABLE}; or use --data shapes, which needs no download"
    )
