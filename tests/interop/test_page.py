"""The page on this runs: its blocks are executed in their order, in one namespace."""

import re
from pathlib import Path

import torch

from groundglass.attacks import Linf
from tests.interop import peers

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "interop.md"


def test_every_block_runs():
    for name in ("torchattacks", "foolbox", "art", "pyautoattack"):
        peers.need(name)
    text = PAGE.read_text()
    blocks = list(re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    assert len(blocks) >= 8
    space: dict = {"__name__": "page"}
    torch.manual_seed(0)
    checked = 0
    for block in blocks:
        line = text[: block.start(1)].count("\n")
        exec(compile("\n" * line + block[1], str(PAGE), "exec"), space)  # lines of an error are those of the page
        adversarial = space.pop("adversarial", None)
        if adversarial is not None:
            assert bool(Linf(space["eps"]).contains(adversarial, space["images"], tolerance=1e-5).all())
            checked += 1
    assert checked == 5
    assert bool(Linf(space["eps"]).contains(space["result"].adversarial, space["images"], tolerance=1e-5).all())
