"""The service's time when the system's clock is set: back, or ahead and back."""

from pathlib import Path

import pytest

from groundglass.optics.remote.errors import FrameBudgetError, TokenExpiredError
from groundglass.service.clock import DAY, Clock
from groundglass.service.database import Database
from groundglass.service.ledger import Ledger
from groundglass.service.tokens import Budgets, Client, Tokens
from tests.service.budgets import NOON, Hands

YEAR = 365 * DAY


def spend(ledger: Ledger, client: Client, rows: int) -> None:
    batch = ledger.begin(client, "opu", rows)
    ledger.take([(batch, rows)])
    ledger.end(batch)


def test_time_goes_on_from_the_latest_that_was_seen() -> None:
    hands = Hands(1000.0)
    clock = Clock(0.0, wall=lambda: hands.wall, steady=lambda: hands.steady)
    assert clock.now() == 1000
    hands.wall = 400.0
    assert (clock.now(), clock.ahead) == (1000, 600)
    hands.pass_by(50)
    assert (clock.now(), clock.ahead) == (1050, 600)
    hands.wall = 1049.0
    assert clock.now() == 1050
    hands.wall = 2000.0
    assert (clock.now(), clock.ahead) == (2000, 0)


@pytest.mark.parametrize("restart", [False, True])
def test_a_clock_that_is_set_back_renews_no_budget(tmp_path: Path, restart: bool) -> None:
    hands = Hands()
    ledger = hands.open(tmp_path)
    client, token = ledger.tokens.new("lab", budgets=Budgets(None, 10, 6), expires=NOON + 5)
    spend(ledger, client, 6)
    hands.pass_by(1)
    spend(ledger, client, 4)
    hands.pass_by(4)
    with pytest.raises(TokenExpiredError):
        ledger.authenticate(token)
    for back in (5, DAY, YEAR):
        hands.wall = NOON + 5 - back
        if restart:
            ledger.close()
            ledger = hands.open(tmp_path)
        with pytest.raises(TokenExpiredError):
            ledger.authenticate(token)
    ledger.tokens.change("lab", expires=None)
    for rows in (1, 7):
        with pytest.raises(FrameBudgetError) as refused:
            ledger.begin(client, "opu", rows)
        assert refused.value.details["left"] == 0
    ledger.close()


def test_an_expiry_that_was_told_is_not_forgotten_in_a_kill(tmp_path: Path) -> None:
    """Without a word to the ledger in between: it is not closed, and nothing was counted."""
    hands = Hands()
    with hands.open(tmp_path) as ledger:
        _, token = ledger.tokens.new("lab", expires=NOON + 5)
    ledger = hands.open(tmp_path)
    hands.pass_by(6)
    with pytest.raises(TokenExpiredError):
        ledger.authenticate(token)
    ledger._opened.close()
    hands.wall = NOON
    with hands.open(tmp_path) as ledger, pytest.raises(TokenExpiredError):
        ledger.authenticate(token)


def test_a_command_with_an_older_clock_does_not_undo_the_servers(tmp_path: Path) -> None:
    hands = Hands()
    with hands.open(tmp_path) as ledger:
        command = Database(tmp_path, create=False, wall=lambda: NOON - DAY, steady=lambda: 0.0)
        hands.pass_by(DAY)
        client, _ = ledger.tokens.new("lab")
        spend(ledger, client, 1)
        Tokens(command).revoke("lab")
        command.close()
    hands.wall = NOON
    with hands.open(tmp_path) as ledger:
        assert ledger.clock.now() == NOON + DAY


def test_a_clock_that_was_a_year_ahead(tmp_path: Path) -> None:
    """No frame too many; days go on being days; a token that ended meanwhile is given more time by its operator."""
    hands = Hands()
    ledger = hands.open(tmp_path)
    client, token = ledger.tokens.new("lab", budgets=Budgets(frames_a_day=10), expires=NOON + 30 * DAY)
    spend(ledger, client, 4)
    hands.wall += YEAR
    with pytest.raises(TokenExpiredError):
        ledger.authenticate(token)
    hands.wall -= YEAR
    with pytest.raises(TokenExpiredError):
        ledger.authenticate(token)
    ledger.tokens.change("lab", expires=ledger.clock.now() + 30 * DAY)
    ledger.authenticate(token)
    assert ledger.clock.ahead == pytest.approx(YEAR, abs=1)
    spend(ledger, client, 10)
    hands.pass_by(DAY / 4)
    ledger.close()
    ledger = hands.open(tmp_path)  # what has passed since the last frame is lost: the service was not there to see it
    assert ledger.clock.ahead == pytest.approx(YEAR - DAY / 4, abs=1)
    with pytest.raises(FrameBudgetError) as refused:
        ledger.begin(client, "opu", 1)
    assert refused.value.retry_after == pytest.approx(DAY / 2)
    hands.pass_by(DAY / 2)
    spend(ledger, client, 10)
    ledger.close()
