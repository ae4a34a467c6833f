"""The statement: filtered by type and time, its balances following each other, and whole in a file."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.ledger import statement
from shared.ledger.statement import InconsistentStatement, StatementFilter, StatementLine, StatementLineType
from shared.platform.errors import InvalidRequest
from shared.platform.pagination import Page, PageRequest
from shared.schema.payouts import PayoutStatus
from tests.support.world import World


def page(world: World, asked: StatementFilter, size: int = 100) -> Page[StatementLine]:
    """The first page."""
    with world.engine.connect() as connection:
        return statement.load_statement_page(connection, world.wallet_id, PageRequest(size), asked)


def export(world: World, asked: StatementFilter = statement.ALL_LINES) -> list[StatementLine]:
    """All lines, as a file has them."""
    with world.engine.connect() as connection:
        return list(statement.load_all_statement_lines(connection, world.wallet_id, asked))


def three_days(world: World) -> datetime:
    """Money on three days: the opening balance, a payout that fails, and two that are reserved."""
    first = world.clock.moment = datetime(2026, 2, 1, 12, tzinfo=UTC)
    payout_ids = world.queued(1)
    world.clock.advance(days=1)
    world.end(payout_ids, PayoutStatus.FAILED)
    world.clock.advance(days=1)
    world.accepted(2)
    return first


def test_lines_of_a_time_begin_with_it_and_end_before_its_end(world: World) -> None:
    """Half-open, in either shape; the total is that of the time."""
    first = three_days(world)
    lines = [line for line in export(world) if line.created_at < first + timedelta(days=5)]
    assert [line.type for line in lines] == [
        StatementLineType.DEBIT,
        StatementLineType.RELEASE,
        StatementLineType.DEBIT,
        StatementLineType.DEBIT,
    ]
    day = timedelta(days=1)
    for since, until, expected in (
        (first, first + day, lines[:1]),
        (first, first + day + timedelta(microseconds=1), lines[:2]),
        (first + timedelta(microseconds=1), first + 2 * day, lines[1:2]),
        (first + 2 * day, first + 3 * day, lines[2:]),
        (None, first + day, lines[:1]),
        (first + 3 * day, first + 4 * day, []),
    ):
        asked = StatementFilter(since=since, until=until)
        found = page(world, asked)
        assert (list(found.rows), found.total) == (expected[::-1], len(expected))
        assert export(world, asked) == expected
    debits = page(world, StatementFilter(StatementLineType.DEBIT, first, first + 3 * day), size=2)
    assert (list(debits.rows), debits.total, debits.more) == (lines[:1:-1], 3, True)


def test_a_file_is_read_in_parts_and_has_each_line_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the size of the parts; its order is that of the list, turned round."""
    world.accepted(7)
    monkeypatch.setattr(statement, "_LINES_READ_AT_ONCE", 3)
    lines = export(world)
    assert lines[::-1] == list(page(world, statement.ALL_LINES).rows)
    assert len(lines) == 8


def test_too_many_lines_for_one_file_are_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the way out in the sentence."""
    world.accepted(3)
    monkeypatch.setattr(statement, "EXPORTED_LINES_MAX", 3)
    with pytest.raises(InvalidRequest, match="`from` and `to`"):
        export(world)
    assert len(export(world, StatementFilter(StatementLineType.DEBIT))) == 3


def test_a_statement_whose_balances_do_not_follow_is_not_given_out(world: World) -> None:
    """Nobody shall reconcile by it."""
    world.accepted(2)
    with world.engine.connect() as connection:
        lines = list(statement.load_all_statement_lines(connection, world.wallet_id, statement.ALL_LINES))
        wrong = lines[1]._replace(available_after_cents=lines[1].available_after_cents + 1)
        with pytest.raises(InconsistentStatement):
            list(statement._check_balances([lines[0], wrong, lines[2]]))
