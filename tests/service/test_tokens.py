"""Tokens: only a hash is kept, one answer for all that are not the service's, and changes are seen at the next request."""

import hashlib
import re
import sqlite3
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from groundglass.optics.remote.errors import NoSuchDeviceError, RoleRefusedError, TokenExpiredError, TokenRefusedError
from groundglass.service.database import NAME, Database
from groundglass.service.ledger import Ledger
from groundglass.service.tokens import Budgets, Tokens
from tests.service.budgets import NOON, Hands


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[Tokens]:
    """The tokens as a command changes them while a server runs."""
    database = Database(tmp_path, create=True)
    yield Tokens(database)
    database.close()


def test_a_token_is_its_holders_and_only_a_hash_is_kept(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        client, token = ledger.tokens.new("lab", roles=["calibrate", "measure"], devices=["a", "b"], budgets=Budgets(5))
        assert ledger.authenticate(token) == client
        assert (client.roles, client.devices, client.budgets) == (("calibrate", "measure"), ("a", "b"), Budgets(5))
        assert re.fullmatch(rf"gg_{client.id}_[\w-]{{43}}", token)
        secret = token.split("_", 2)[2]
        # While the log of the last commits is still there, too.
        kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert secret.encode() not in kept
        assert hashlib.sha256(token.encode()).digest() in kept
        assert secret not in repr((client, ledger.tokens.all(), ledger.usage()))


def test_no_two_tokens_are_alike(beside: Tokens) -> None:
    found = [beside.new(f"c{i}")[1] for i in range(20)]
    assert len({token[16:] for token in found}) == len({token[:15] for token in found}) == 20


def altered(token: str) -> list[str]:
    """What is not this token, and yet like one."""
    return [
        *(
            "",
            "x",
            "gg_",
            token[:-1],
            token + "A",
            token.upper(),
            " " + token,
            token + "\n",
            "gg__",
            "\udc80",
            "é" * 60,
        ),
        token[:-1] + ("A" if token[-1] != "A" else "B"),
        "gg_" + ("0" * 12) + token[15:],
        token * 10_000,
        f"{token}' OR '1'='1",
    ]


def test_one_answer_for_all_tokens_that_are_none(tmp_path: Path, beside: Tokens) -> None:
    with Ledger(tmp_path) as ledger:
        client, token = beside.new("lab")
        other = beside.new("other")[1]
        revoked = beside.new("gone")[1]
        beside.revoke("gone")
        answers = []
        for wrong in [*altered(token), revoked, f"gg_{client.id}_{other.split('_', 2)[2]}"]:
            with pytest.raises(TokenRefusedError) as refused:
                ledger.authenticate(wrong)
            error = refused.value
            answers.append((type(error), str(error), error.details, error.retry_after))
            frames = traceback.StackSummary.extract(
                list(traceback.walk_tb(error.__traceback__))[1:], capture_locals=True
            )
            assert len(frames) > 1
            assert not wrong or not any(repr(wrong) in (one.locals or {}).values() for one in frames)
        assert answers == [answers[0]] * len(answers)
        assert ledger.authenticate(token) == client


def test_the_same_work_for_all_tokens_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look into the table, a hash and a comparison; whether there is such an id, and whether the secret is right."""
    from groundglass.service import tokens as module

    work: list[str] = []

    def counted(name: str, call: Any) -> Any:
        def done(*args: Any, **kwargs: Any) -> Any:
            work.append(name)
            return call(*args, **kwargs)

        return done

    with Ledger(tmp_path) as ledger:
        _, token = ledger.tokens.new("lab")
        revoked = ledger.tokens.new("gone")[1]
        ledger.tokens.revoke("gone")
        monkeypatch.setattr(module.hmac, "compare_digest", counted("compare", module.hmac.compare_digest))
        monkeypatch.setattr(module, "_digest", counted("hash", module._digest))
        monkeypatch.setattr(module, "_client", counted("parse", module._client))
        monkeypatch.setattr(ledger._database, "read", counted("read", ledger._database.read))
        done = []
        for one in [*altered(token), revoked]:
            work.clear()
            with pytest.raises(TokenRefusedError):
                ledger.authenticate(one)
            done.append(sorted(work))
        assert done == [["compare", "hash", "parse", "read"]] * len(done)


def test_a_token_expires(tmp_path: Path) -> None:
    hands = Hands()
    with hands.open(tmp_path) as ledger:
        client, token = ledger.tokens.new("lab", expires=NOON + 10)
        hands.pass_by(9.9)
        ledger.authenticate(token)
        hands.pass_by(0.1)
        for refused in (lambda: ledger.authenticate(token), lambda: ledger.begin(client, "opu", 1)):
            with pytest.raises(TokenExpiredError):
                refused()
        # Only its holder is told so.
        with pytest.raises(TokenRefusedError) as wrong:
            ledger.authenticate(token[:-1] + ("A" if token[-1] != "A" else "B"))
        assert type(wrong.value) is TokenRefusedError
        ledger.tokens.change("lab", expires=None)
        assert ledger.authenticate(token).expires is None


def test_a_running_server_sees_what_a_command_changes(tmp_path: Path, beside: Tokens) -> None:
    with Ledger(tmp_path) as ledger:
        client, token = beside.new("lab", budgets=Budgets(10))
        batch = ledger.begin(ledger.authenticate(token), "opu", 4)
        beside.change("lab", {"frames": 5}, roles=("redraw",), devices=("other",))
        now = ledger.authenticate(token)
        assert (now.budgets, now.roles, now.devices) == (Budgets(5), ("redraw",), ("other",))
        assert ledger.left(now) == Budgets(1)  # what was counted and reserved stays
        beside.revoke(client.id)
        for refused in (lambda: ledger.begin(client, "opu", 1), lambda: ledger.current(client)):
            with pytest.raises(TokenRefusedError):
                refused()
        with pytest.raises(TokenRefusedError):
            ledger.authenticate(token)
        ledger.take([(batch, 4)])  # it was begun
        # The name is free, and its new holder has nothing of the old one's.
        again, second = beside.new("lab", budgets=Budgets(10))
        assert ledger.left(ledger.authenticate(second)) == Budgets(10)
        assert [(one.client.id, one.frames) for one in ledger.usage()] == [(client.id, 4)]
        assert again.id != client.id


def test_roles_and_devices(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        client, _ = ledger.tokens.new("lab", roles=["measure"], devices=["a"])
        every, _ = ledger.tokens.new("root", roles=["administer", "redraw"])
        ledger.authorise(client, "measure", "a")
        ledger.authorise(every, "redraw", "a")
        ledger.authorise(every, "administer")
        with pytest.raises(RoleRefusedError):
            ledger.authorise(client, "calibrate", "a")
        with pytest.raises(RoleRefusedError):
            ledger.authorise(every, "measure", "a")
        for role in ("measure", "calibrate"):  # which roles it has, it is not told of devices that are not its own
            with pytest.raises(NoSuchDeviceError):
                ledger.authorise(client, role, "b")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "a b"},
        {"name": "../x"},
        {"name": "x" * 65},
        {"roles": []},
        {"roles": ["root"]},
        {"devices": []},
        {"devices": ["a b"]},
        {"budgets": {"frames": -1}},
        {"budgets": {"frames_a_day": 1.5}},
        {"budgets": {"frames_a_second": 10**16}},
        {"expires": float("nan")},
    ],
    ids=repr,
)
def test_settings_that_are_refused(beside: Tokens, wrong: dict[str, Any]) -> None:
    def make() -> None:
        beside.new(**{"name": "a", **wrong, "budgets": Budgets(**wrong.get("budgets", {}))})

    with pytest.raises(ValueError, match=next(iter(wrong.get("budgets", wrong))).removesuffix("s")):
        make()
    assert beside.all() == ()


def test_names_are_taken_once(beside: Tokens) -> None:
    first, _ = beside.new("lab")
    with pytest.raises(ValueError, match="lab has a token"):
        beside.new("lab")
    for unknown in ("nobody", "", first.id[:-1]):
        with pytest.raises(ValueError, match="no token of"):
            beside.revoke(unknown)
    beside.revoke("lab")
    with pytest.raises(ValueError, match="no token of"):
        beside.revoke("lab")
    assert [one.revoked is not None for one in beside.all()] == [True]


def test_a_token_that_was_altered_is_no_ones(tmp_path: Path) -> None:
    from groundglass.core import DamagedFileError

    with Ledger(tmp_path) as ledger:
        _, token = ledger.tokens.new("lab")
    for column, value in (
        ("roles", "root"),
        ("frames", "many"),
        ("digest", "text"),
        ("expires", "never"),
        ("devices", b"x"),
    ):
        with sqlite3.connect(tmp_path / NAME) as file:
            ((before,),) = file.execute(f"SELECT {column} FROM tokens").fetchall()
            file.execute(f"UPDATE tokens SET {column} = ?", (value,))
        with Ledger(tmp_path) as ledger, pytest.raises(DamagedFileError, match=str(tmp_path)):
            ledger.authenticate(token)
        with sqlite3.connect(tmp_path / NAME) as file:
            file.execute(f"UPDATE tokens SET {column} = ?", (before,))
