"""What `import groundglass` and `groundglass --help` take beyond `import torch`, each in a fresh process.

python benchmarks/import_time.py
"""

import statistics
import subprocess
import sys
import time

_COMMANDS = {
    "import torch": "import torch",
    "import groundglass": "import groundglass",
    "groundglass.studies, to run": "import torch; from groundglass.studies import run_study",
    "groundglass --help": "import sys; from groundglass.cli import main; sys.argv = ['groundglass', '--help']; main()",
}


def seconds(code: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=False, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main(repeats: int = 7) -> None:
    times: dict[str, list[float]] = {name: [] for name in _COMMANDS}
    for _ in range(repeats + 1):
        for name, code in _COMMANDS.items():
            times[name].append(seconds(code))
    for name, values in times.items():
        warm = values[1:]
        print(f"{name:34s} median {statistics.median(warm):.2f} s, from {min(warm):.2f} to {max(warm):.2f}")


if __name__ == "__main__":
    main()
