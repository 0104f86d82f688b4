"""`groundglass device token`: a token is printed once and alone, kept nowhere else, and changed beside a running service."""

import json
import re
import stat
import time
from pathlib import Path

import pytest

from groundglass import cli
from groundglass.cli import tokens as commands
from groundglass.optics.remote.errors import TokenRefusedError
from groundglass.service.ledger import Ledger
from groundglass.service.tokens import Budgets

WORDS = ["--role", "measure", "calibrate", "--devices", "opu", "--frames", "1e6", "--frames-a-second", "2_000"]


def token(state: Path, *words: str) -> int:
    return cli.main(["device", "token", words[0], *words[1:], "--state", str(state)])


def test_new_prints_the_token_alone(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    state = tmp_path / "state"
    assert token(state, "new", "lab", *WORDS, "--expires", "30d") == 0
    shown = capfd.readouterr()
    assert re.fullmatch(r"gg_[0-9a-f]{12}_[\w-]{43}\n", shown.out)
    assert str(state) in shown.err  # it was not there: who mistyped it sees that
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    with Ledger(state) as ledger:
        client = ledger.authenticate(shown.out.strip())
        assert (client.name, client.roles, client.devices) == ("lab", ("measure", "calibrate"), ("opu",))
        assert client.budgets == Budgets(frames=1_000_000, frames_a_second=2000)
        assert client.expires == pytest.approx(ledger.clock.now() + 30 * 86_400, abs=60)
    assert token(state, "new", "other") == 0
    assert capfd.readouterr().err == ""


def test_new_writes_the_token_to_a_file_of_its_owner(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    out = tmp_path / "sub" / "token"
    assert token(tmp_path, "new", "lab", "--out", str(out)) == 0
    assert capfd.readouterr().out == f"{out}\n"
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    with Ledger(tmp_path) as ledger:
        assert ledger.authenticate(out.read_text().strip()).name == "lab"
    # It is never written over, and no token is made that nobody has.
    assert token(tmp_path, "new", "other", "--out", str(out)) == 1
    assert token(tmp_path, "list") == 0
    assert "other" not in capfd.readouterr().out


def test_a_token_that_cannot_be_written_is_revoked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    from groundglass import core

    write = core.atomic_write

    def full(path: Path, *args: object, **kwargs: object) -> object:
        if path.name == "token":
            raise core.DiskFullError(28, "the disk is full: free some")
        return write(path, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(core, "atomic_write", full)
    assert token(tmp_path, "new", "lab", "--out", str(tmp_path / "token")) == 1
    assert "the disk is full" in capfd.readouterr().err
    with Ledger(tmp_path) as ledger:
        assert [one.revoked is not None for one in ledger.tokens.all()] == [True]


def test_a_running_service_sees_what_the_commands_do(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    with Ledger(tmp_path) as ledger:
        assert token(tmp_path, "new", "lab", *WORDS) == 0
        secret = capfd.readouterr().out.strip()
        client = ledger.authenticate(secret)
        batch = ledger.begin(client, "opu", 1234)
        ledger.take([(batch, 1234)])
        assert (
            token(tmp_path, "set", "lab", "--frames", "5000", "--frames-a-second", "none", "--frames-a-day", "4e3") == 0
        )
        assert token(tmp_path, "set", "lab", "--role", "redraw", "--expires", "never") == 0
        now = ledger.authenticate(secret)
        assert now.budgets == Budgets(frames=5000, frames_a_day=4000)
        assert (now.roles, now.devices, now.expires) == (("redraw",), ("opu",), None)
        capfd.readouterr()
        assert token(tmp_path, "list") == 0
        shown = capfd.readouterr().out
        for said in ("lab", client.id, "redraw", "opu", "1,234/5,000", "1,234/4,000", "never"):
            assert said in shown, said
        assert secret not in shown
        assert secret[16:] not in shown
        assert token(tmp_path, "revoke", client.id) == 0
        with pytest.raises(TokenRefusedError):
            ledger.authenticate(secret)
        assert token(tmp_path, "list") == 0
        assert "revoked" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("new", "a b"), "`name`"),
        (("new", "x", "--frames", "1.5"), "--frames"),
        (("new", "x", "--frames-a-day", "-3"), "frames_a_day"),
        (("new", "x", "--expires", "soon"), "30d"),
        (("new", "x", "--expires", "2001-01-01"), "has passed"),
        (("new", "x", "--devices", "a/b"), "`devices`"),
        (("new", "lab"), "revoke it first"),
        (("set", "lab"), "nothing to change"),
        (("set", "nobody", "--frames", "3"), "token list"),
        (("revoke", "nobody"), "token list"),
    ],
    ids=json.dumps,
)
def test_what_is_refused_says_what_to_do(
    tmp_path: Path, words: tuple[str, ...], said: str, capfd: pytest.CaptureFixture
) -> None:
    assert token(tmp_path, "new", "lab") == 0
    capfd.readouterr()
    assert token(tmp_path, *words) == 1
    shown = capfd.readouterr()
    assert said in shown.err
    assert shown.out == ""
    with Ledger(tmp_path) as ledger:
        (only,) = ledger.tokens.all()
        assert (only.name, only.budgets, only.revoked) == ("lab", Budgets(), None)


def test_a_state_folder_that_is_none(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    for words in (("list",), ("revoke", "x"), ("set", "x", "--frames", "1")):
        assert token(tmp_path / "typo", *words) == 1
        assert "token new" in capfd.readouterr().err
    assert not (tmp_path / "typo").exists()


def test_a_clock_that_is_behind_is_said(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    with Ledger(tmp_path, wall=lambda: time.time() + 86_400) as ledger:
        ledger.tokens.new("lab")
    assert token(tmp_path, "list") == 0
    assert "behind the latest time" in capfd.readouterr().err


def test_moments() -> None:
    assert commands._moment("never", 5.0) is None
    assert [commands._moment(text, 5.0) for text in ("45min", "12h", "30d", "8w")] == [
        2705,
        43_205,
        2_592_005,
        4_838_405,
    ]
    assert commands._moment("1970-01-03", 5.0) == 2 * 86_400
