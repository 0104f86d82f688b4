"""A short seed that is given is stretched, once and slowly; every other one is used as it is."""

import hashlib
import json

import pytest

from groundglass.cli.options import _seed
from groundglass.core import derive_seed, sealed
from groundglass.core.sealed import Seed
from groundglass.optics import DriftingDevice, MovingDevice, SimulatedOPU

pytestmark = pytest.mark.usefixtures("stretched_seeds")
LONG = 2**96


@pytest.fixture
def stretched(monkeypatch):
    """What was stretched; nothing is known from before."""
    seen, real = [], hashlib.scrypt
    sealed._stretched.cache_clear()

    def counted(value, **given):
        seen.append((int(value, 16), given["n"] * given["r"] * 128))
        return real(value, **given)

    monkeypatch.setattr(sealed.hashlib, "scrypt", counted)
    return seen


def make(seed):
    return SimulatedOPU.create(12, 5, seed=seed)


def test_golden_stretching() -> None:
    """The same on every machine and for ever: another value is another device."""
    assert Seed(7).reveal() == "80d8deca4391dcad1165d0cfb9c46129"
    assert SimulatedOPU.create(100, 70, seed=2024).fingerprint == "a637adf21478db13a4f634e1148e0087"


def test_a_seed_of_version_02_makes_its_device() -> None:
    """Its golden device, and the parts of a study's seed."""
    device = SimulatedOPU.create(100, 70, seed=Seed.raw(2024))
    assert device.fingerprint == "be641e5decf1965dfe185616dc005dc2"
    assert device.public
    path = ("device", 512, 8000)
    assert Seed.raw(7).at(*path).reveal() == f"{derive_seed(7, *path):x}"
    assert Seed.raw(7).derived("x").at(*path).reveal() == f"{derive_seed(Seed.raw(7).number('x'), *path):x}"
    assert Seed(Seed.raw(7)).reveal() == "7"


def test_what_is_short_and_given_is_stretched_once(stretched) -> None:
    seed = Seed(5)
    assert stretched == []  # not before it is needed
    for again in (seed, Seed(seed), Seed(5), Seed(5, public=False)):
        assert int(again.reveal(), 16) != 5
        again.stream("a", 3), again.derived("b").derived("c").reveal(), again.at("d", 1).at("e").reveal()
    MovingDevice.create(12, 5, count=3, seed=5)
    DriftingDevice(make(seed), correlation=5).wait(3)
    assert stretched == [(5, 2**25)]
    make(LONG - 1)
    assert stretched[1:] == [(LONG - 1, 2**25)]


def test_nothing_else_is_stretched(stretched, tmp_path) -> None:
    assert Seed(LONG).reveal() == f"{LONG:x}"
    for seed in (None, LONG, Seed(), Seed.raw(5)):
        make(seed)
        assert MovingDevice.create(12, 5, count=1, seed=seed).fingerprint
    short = Seed.of_hex("5")
    assert short is not None
    assert (short.reveal(), short.at("x").derived("y").public) == ("5", True)
    assert stretched == []


def test_a_device_file_holds_what_was_made_of_the_seed_and_loads_at_once(stretched, tmp_path) -> None:
    device, path = make(987654321), tmp_path / "a.device"
    device.save(path)
    text = path.read_text()
    assert json.loads(text)["public"] is True
    assert int(json.loads(text)["seed"], 16) >= 2**64
    assert f"{987654321:x}" not in text
    assert "987654321" not in text
    assert len(stretched) == 1
    assert SimulatedOPU.load(path).fingerprint == device.fingerprint
    assert SimulatedOPU.load(path).redraw(LONG).public
    assert len(stretched) == 1


def test_no_part_of_a_seed_can_be_tried_past_the_stretching() -> None:
    """Parts had 63 bits, few enough to try them all without a guess at the seed."""
    parts = [int(Seed(5).at("device", k).reveal(), 16) for k in range(40)]
    assert len(set(parts)) == 40
    assert max(part.bit_length() for part in parts) > 120
    assert Seed(5).at("a", 1).reveal() != Seed(5).at("a", "1").reveal()


def test_a_guess_that_was_not_stretched_finds_nothing() -> None:
    """The attack that finds a seed of version 0.2 (control) does not find the same seed now."""
    guesses = {make(Seed.raw(k)).fingerprint: k for k in range(40)}
    assert guesses.get(make(Seed.raw(23)).fingerprint) == 23
    assert make(23).fingerprint not in guesses


def test_how_a_seed_is_used_can_be_told() -> None:
    assert [s.derivation for s in (Seed(5), Seed(LONG), Seed(), Seed.raw(5))] == ["scrypt-1", "none", "none", "raw"]


def test_the_command_line_has_both_kinds(capsys) -> None:
    assert _seed(["7"]).reveal() == Seed(7).reveal()
    assert _seed(["0x7"]).reveal() == Seed(7).reveal()
    for text in ("raw:7", " raw:0x7 "):
        assert (_seed([text]).reveal(), _seed([text]).derivation) == ("7", "raw")
    for text in ("raw:", "old:7", "raw:raw:7", ":7", "seven:7"):
        with pytest.raises(ValueError, match="not a whole number") as told:
            _seed([text])
        assert text not in str(told.value)


def test_an_error_of_the_stretching_shows_nothing(monkeypatch) -> None:
    sealed._stretched.cache_clear()

    def broken(value, **given):
        raise MemoryError

    monkeypatch.setattr(sealed.hashlib, "scrypt", broken)
    with pytest.raises(MemoryError) as told:
        make(123454321)
    frame = told.value.__traceback__
    shown = []
    while frame is not None:
        if "groundglass" in frame.tb_frame.f_code.co_filename and "tests" not in frame.tb_frame.f_code.co_filename:
            shown.append(repr(frame.tb_frame.f_locals))
        frame = frame.tb_next
    assert shown
    assert not any("123454321" in each or "75bc371" in each for each in shown)
