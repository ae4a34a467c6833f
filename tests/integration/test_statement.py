"""The statement: filtered by type and time, with consistent balances, complete in a file."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.ledger import statement
from shared.ledger.statement import InconsistentStatement, StatementFilter, StatementLine, StatementLineType
from shared.platform.errors import InvalidRequest
from shared.platform.pagination import Page, PageRequest
from shared.schema.payouts import PayoutStatus
from tests.support.world import World


def first_page(world: World, asked: StatementFilter, size: int = 100) -> Page[StatementLine]:
    """The first page of the statement."""
    with world.engine.connect() as connection:
        return statement.load_statement_page(connection, world.wallet_id, PageRequest(size), asked)


def all_lines(world: World, asked: StatementFilter = statement.ALL_LINES) -> list[StatementLine]:
    """All lines, as in a file."""
    with world.engine.connect() as connection:
        return list(statement.load_all_statement_lines(connection, world.wallet_id, asked))


def fill_three_days(world: World) -> datetime:
    """Post lines on three days and return the first: a top-up and a debit, a release, two debits."""
    first = world.clock.moment = datetime(2026, 2, 1, 12, tzinfo=UTC)
    payout_ids = world.queued(1)
    world.clock.advance(days=1)
    world.end(payout_ids, PayoutStatus.FAILED)
    world.clock.advance(days=1)
    world.accepted(2)
    return first


def test_dated_statement_is_half_open(world: World) -> None:
    """As a page and as a file; the total is of the time range."""
    first = fill_three_days(world)
    lines = [line for line in all_lines(world) if line.created_at < first + timedelta(days=5)]
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
        found = first_page(world, asked)
        assert (list(found.rows), found.total) == (expected[::-1], len(expected))
        assert all_lines(world, asked) == expected
    debits = first_page(world, StatementFilter(StatementLineType.DEBIT, first, first + 3 * day), size=2)
    assert (list(debits.rows), debits.total, debits.more) == (lines[:1:-1], 3, True)


def test_file_is_read_in_slices_and_has_each_line_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the reverse order of the list."""
    world.accepted(7)
    monkeypatch.setattr(statement, "_LINES_READ_AT_ONCE", 3)
    lines = all_lines(world)
    assert lines[::-1] == list(first_page(world, statement.ALL_LINES).rows)
    assert len(lines) == 8


def test_file_with_too_many_lines_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.accepted(3)
    monkeypatch.setattr(statement, "EXPORTED_LINES_MAX", 3)
    with pytest.raises(InvalidRequest, match="`from` and `to`"):
        all_lines(world)
    assert len(all_lines(world, StatementFilter(StatementLineType.DEBIT))) == 3


def test_inconsistent_statement_is_not_exported(world: World) -> None:
    world.accepted(2)
    with world.engine.connect() as connection:
        lines = list(statement.load_all_statement_lines(connection, world.wallet_id, statement.ALL_LINES))
        wrong = lines[1]._replace(available_after_cents=lines[1].available_after_cents + 1)
        with pytest.raises(InconsistentStatement):
            list(statement._check_balances([lines[0], wrong, lines[2]]))
