"""What the database says of an error reaches our logs without the row that it is about."""

import traceback

import pytest
import sqlalchemy as sa

from tests.support.world import World

MARK = "".join(("mar", "ked"))  # or a traceback would have it as a line of this file


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE drivers SET status = :mark WHERE wallet_id = :id", "violates check constraint"),
        ("UPDATE drivers SET email = NULL WHERE wallet_id = :id", "violates not-null constraint"),
        ("INSERT INTO drivers SELECT * FROM drivers WHERE wallet_id = :id", "duplicate key value"),
        ("SELECT name::int FROM drivers WHERE wallet_id = :id", "a value was refused (22P02)"),
        ("SELECT * FROM json_to_recordset(CAST('{' || :mark AS json)) AS made (a text)", "a value was refused"),
    ],
)
def test_an_error_has_no_value_in_it(world: World, statement: str, says: str) -> None:
    """Neither in its sentence nor anywhere in its traceback."""
    world.driver()
    with pytest.raises(sa.exc.DBAPIError) as refused:
        world.execute(statement, id=world.wallet_id, mark=MARK)
    text = "".join(traceback.format_exception(refused.value))
    assert says in text
    for value in ("Dora", "dora@", MARK, str(world.wallet_id)):
        assert value not in text
