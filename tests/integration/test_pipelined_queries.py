"""Pipelined queries run in order, return a result each, and fail like single ones."""

import uuid
from typing import Any

import pytest
import sqlalchemy as sa

from shared.platform.pipelined_queries import Query, no_result, run_queries
from tests.support.world import World


def number(value: int) -> Query[int]:
    """Query that returns its parameter."""
    return Query(sa.text("SELECT CAST(:value AS int)"), {"value": value}, lambda rows: int(rows[0][0]))


TABLE = Query(sa.text("CREATE TEMPORARY TABLE seen (name text PRIMARY KEY) ON COMMIT DROP"), {}, no_result)


def insert_query(name: str) -> Query[None]:
    """Query that inserts a row into that table."""
    return Query(sa.text("INSERT INTO seen VALUES (:name)"), {"name": name}, no_result)


@pytest.mark.parametrize("count", [0, 1, 2, 40])
def test_each_query_has_a_result_and_none_stays_none(world: World, count: int) -> None:
    with world.engine.begin() as connection:
        assert run_queries(connection, None, *map(number, range(count)), None) == [None, *range(count), None]


def test_query_sees_the_effects_of_earlier_ones(world: World) -> None:
    counting: Query[Any] = Query(sa.text("SELECT count(*) FROM seen"), {}, lambda rows: rows[0][0])
    with world.engine.begin() as connection:
        assert run_queries(connection, TABLE, counting, insert_query("a 100 % :sure"), counting) == [None, 0, None, 1]
        assert connection.scalar(sa.text("SELECT name FROM seen")) == "a 100 % :sure"


def test_first_error_is_raised_and_later_queries_do_not_run(world: World) -> None:
    secret = f"secret-{uuid.uuid4()}"
    with pytest.raises(sa.exc.IntegrityError) as raised, world.engine.begin() as connection:
        run_queries(connection, TABLE, insert_query(secret), insert_query(secret), number(1))
    # And its message has no value in it, because errors end in logs
    assert secret not in f"{raised.value} {raised.value.orig!r}"
    with world.engine.begin() as connection:  # the connection is still usable
        assert run_queries(connection, number(1), number(2)) == [1, 2]


def test_lost_connection_is_reported_and_replaced(world: World) -> None:
    me: Query[int] = Query(sa.text("SELECT pg_backend_pid()"), {}, lambda rows: int(rows[0][0]))
    killed = Query(sa.text("SELECT pg_terminate_backend(pg_backend_pid())"), {}, no_result)
    with pytest.raises(sa.exc.OperationalError) as raised, world.engine.begin() as connection:
        run_queries(connection, me, killed, number(1))
    assert raised.value.connection_invalidated
    with world.engine.begin() as connection:
        assert run_queries(connection, number(1), number(2)) == [1, 2]
