"""`ovnpay dead`: messages whose actor failed, and rows that no longer go on by themselves."""

import json
import sys
from typing import Any, NoReturn

import redis
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from shared.cli.operator.stores import open_stores
from shared.operations import abandoned_work
from shared.platform import dead_letters
from shared.platform.clock import format_rfc3339
from shared.platform.dead_letters import DeadLetter
from shared.platform.task_queue import NAMESPACE, QUEUES

IDS_SHOWN = 3


def print_dead_letters(queue: str | None, *, as_json: bool) -> None:
    """Prints both; what Redis or the database does not say is said to be missing."""
    wanted = _queues(queue)
    with open_stores() as both:
        letters = both.of_redis(lambda client: _letters(client, wanted))
        found = [] if isinstance(letters, str) else letters
        waiting = both.of_database(lambda connection: abandoned_work.count_pending_rows(connection, found))
        rows = both.of_database(abandoned_work.count_abandoned)
    if as_json:
        print(json.dumps(_document(letters, waiting, rows)))
    else:
        _print_letters(letters, waiting)
        if queue is None:
            _print_rows(rows)
    if isinstance(letters, str):
        raise SystemExit(2)


def retry_dead_letters(letter_id: str | None, queue: str | None, *, everything: bool) -> None:
    """Rings again for what is named; exits with 1 where there is no such letter."""
    if sum((letter_id is not None, queue is not None, everything)) != 1:
        _stop("say which: an ID, --queue NAME, or --all")
    wanted = _queues(queue)
    with open_stores() as both:
        done = both.of_redis(lambda client: _retried(client, letter_id, wanted))
    if isinstance(done, str):
        _stop(f"Redis is away ({done}); the rows are due by themselves, whatever becomes of the letters")
    for letter in done:
        print(f"{letter.id}: rung again for {len(letter.row_ids)} rows, {letter.actor}")
    if not done and letter_id is not None:
        _stop(f"there is no dead letter {letter_id}: it was rung for, or forgotten after three days", 1)
    if not done:
        print("nothing is dead there")


def _retried(client: "redis.Redis", letter_id: str | None, wanted: tuple[str, ...]) -> list[DeadLetter]:
    done = []
    for letter in _letters(client, wanted):
        if letter_id in (None, letter.id) and dead_letters.retry_dead_letter(
            client, f"{NAMESPACE}:{letter.queue}", letter.id
        ):
            done.append(letter)
    return done


def _letters(client: "redis.Redis", wanted: tuple[str, ...]) -> list[DeadLetter]:
    return [letter for queue in wanted for letter in dead_letters.load_dead_letters(client, f"{NAMESPACE}:{queue}")]


def _queues(queue: str | None) -> tuple[str, ...]:
    if queue is not None and queue not in QUEUES:
        _stop(f"there is no queue {queue!r}; there are {', '.join(QUEUES)}")
    return QUEUES if queue is None else (queue,)


def _print_letters(letters: list[DeadLetter] | str, waiting: dict[str, int] | str) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160)
    if isinstance(letters, str):
        console.print(f"Redis is away ({escape(letters)}): its dead letters can't be shown.")
        return
    if not letters:
        console.print("No message is dead.")
        return
    table = Table(title="Messages whose actor failed", title_justify="left", box=None)
    for name in ("id", "actor", "rows", "still wait", "failed", "times", "error"):
        table.add_column(name, justify="right" if name in ("still wait", "times") else "left", overflow="fold")
    for letter in letters:
        shown = " ".join(str(one) for one in letter.row_ids[:IDS_SHOWN])
        more = f" and {len(letter.row_ids) - IDS_SHOWN} more" if len(letter.row_ids) > IDS_SHOWN else ""
        left = "?" if isinstance(waiting, str) else f"{waiting[letter.id]} of {len(letter.row_ids)}"
        failed = f"{letter.failed_at:%m-%d %H:%M:%S}"
        table.add_row(
            letter.id, letter.actor, shown + more, left, failed, str(letter.times), escape(letter.error or "?")
        )
    console.print(table)
    console.print("Rows that still wait are due by themselves; `ovnpay dead retry ID` rings for them now.")


def _print_rows(rows: list[abandoned_work.AbandonedCount] | str) -> None:
    if isinstance(rows, str):
        print(f"\nThe database is away ({rows}): what waits for a person can't be shown.")
        return
    found = [one for one in rows if one.number]
    print("\nRows that wait for a person:" if found else "\nNo row waits for a person.")
    for one in found:
        print(f"  {one.number} {one.kind.what}; the oldest since {one.oldest:%Y-%m-%d %H:%M} UTC: {one.kind.command}")


def _document(
    letters: list[DeadLetter] | str, waiting: dict[str, int] | str, rows: list[abandoned_work.AbandonedCount] | str
) -> dict[str, Any]:
    return {
        "redis": letters if isinstance(letters, str) else "ok",
        "database": rows if isinstance(rows, str) else "ok",
        "letters": []
        if isinstance(letters, str)
        else [
            {
                "id": letter.id,
                "queue": letter.queue,
                "actor": letter.actor,
                "rows": [str(one) for one in letter.row_ids],
                "stillWaiting": None if isinstance(waiting, str) else waiting[letter.id],
                "times": letter.times,
                "firstFailedAt": format_rfc3339(letter.first_failed_at),
                "failedAt": format_rfc3339(letter.failed_at),
                "error": letter.error,
            }
            for letter in letters
        ],
        "rows": []
        if isinstance(rows, str)
        else [
            {
                "kind": one.kind.name,
                "what": one.kind.what,
                "count": one.number,
                "oldest": one.oldest and format_rfc3339(one.oldest),
                "goesOnBy": one.kind.command,
            }
            for one in rows
        ],
    }


def _stop(sentence: str, code: int = 2) -> NoReturn:
    print(f"ovnpay dead: {sentence}", file=sys.stderr)
    raise SystemExit(code)
