"""Processes of our own: this Python again, on some code or a module."""

import os
import subprocess
import sys
from dataclasses import dataclass

# The process says itself what it held at most: what the system tells its parent begins with the parent's own memory.
_WATCHED = """
import atexit, sys
def told():
    try:
        with open("/proc/self/status") as file:
            peak = next(line.split()[1] for line in file if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        peak = ""
    print("\\npeak", peak, file=sys.stderr)
atexit.register(told)
"""
_MODULE = """
import runpy
runpy.run_module({!r}, run_name="__main__", alter_sys=True)
"""


@dataclass(frozen=True)
class Ended:
    """What a process has printed, and the bytes that it held at most; None where the system does not tell."""

    printed: str
    peak_bytes: int | None


def run_module(name: str, *words: str, threads: int | None = None) -> Ended:
    """`python -m NAME WORDS`, see `run_code`."""
    return run_code(_MODULE.format(name), *words, threads=threads)


def run_code(code: str, *words: str, threads: int | None = None) -> Ended:
    """`python -c CODE WORDS`, until it ends.

    Args:
        threads: of its libraries; None: as this process has been told.

    Raises:
        RuntimeError: it ended with an error; its last line.
    """
    # -P: no file of the current folder stands for a module; what could be imported here can be there.
    command = [sys.executable, "-P", "-c", _WATCHED + code, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=_surroundings(threads))
    errors, _, peak = done.stderr.rpartition("\npeak ")
    if done.returncode < 0:
        raise RuntimeError(f"it was ended by signal {-done.returncode}: too little memory? Take a smaller size")
    if done.returncode:
        raise RuntimeError((errors.strip().splitlines() or [f"its process ended with {done.returncode}"])[-1])
    return Ended(done.stdout, int(peak) * 1024 if peak.strip() else None)


def _surroundings(threads: int | None) -> dict[str, str]:
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    told = {**os.environ, "PYTHONPATH": path}
    # As the command line has it: threads sleep between operations.
    told.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if threads is not None:
        told |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    return told
