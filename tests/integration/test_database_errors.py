"""Database errors contain no row values, because they end in logs."""

import traceback

import pytest
import sqlalchemy as sa

from tests.support.world import World

MARK = "".join(("mar", "ked"))  # in parts, because a traceback shows this line


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE drivers SET status = :mark WHERE wallet_id = :id", "violates check constraint"),
        ("UPDATE drivers SET email = NULL WHERE wallet_id = :id", "violates not-null constraint"),
        ("INSERT INTO drivers SELECT * FROM drivers WHERE wallet_id = :id", "duplicate key value"),
        ("SELECT name::int FROM drivers WHERE wallet_id = :id", "a value was refused (22P02)"),
        ("SELECT * FROM json_to_recordset(CAST('{' || :mark AS json)) AS made (a text)", "a value was refused"),
    ],
)
def test_error_contains_no_value(world: World, statement: str, message: str) -> None:
    """Neither in its message nor in its traceback."""
    world.driver()
    with pytest.raises(sa.exc.DBAPIError) as refused:
        world.execute(statement, id=world.wallet_id, mark=MARK)
    text = "".join(traceback.format_exception(refused.value))
    assert message in text
    for value in ("Dora", "dora@", MARK, str(world.wallet_id)):
        assert value not in text
