"""`ovnpay dead`: messages whose actor failed, and rows that need a person."""

import json
import sys
from typing import Any

import redis
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from shared.cli.operator import fail_command
from shared.cli.operator.stores import open_stores
from shared.operations import abandoned_work
from shared.operations.abandoned_work import AbandonedCount
from shared.platform.clock import format_rfc3339
from shared.platform.task_queue import QUEUES
from shared.platform.task_queue.dead_letters import DeadLetter, load_dead_letters, retry_dead_letter

IDS_SHOWN_MAX = 3


def print_dead_letters(queue: str | None, *, as_json: bool) -> None:
    """Print failed messages and abandoned rows; exit with 2 without Redis."""
    queues = _check_queue(queue)
    with open_stores() as stores:
        letters = stores.query_redis(lambda client: _load_letters(client, queues))
        known = [] if isinstance(letters, str) else letters
        pending = stores.query_database(lambda connection: abandoned_work.count_pending_rows(connection, known))
        abandoned = stores.query_database(abandoned_work.count_abandoned)
    if as_json:
        print(json.dumps(_document(letters, pending, abandoned)))
    else:
        _print_letters(letters, pending)
        if queue is None:
            _print_abandoned(abandoned)
    if isinstance(letters, str):
        raise SystemExit(2)


def retry_dead_letters(letter_id: str | None, queue: str | None, *, everything: bool) -> None:
    """Enqueue the rows of the selected messages again."""
    if sum((letter_id is not None, queue is not None, everything)) != 1:
        fail_command("dead", "give exactly one of ID, --queue NAME and --all", 2)
    queues = _check_queue(queue)
    with open_stores() as stores:
        retried = stores.query_redis(lambda client: _retry_letters(client, letter_id, queues))
    if isinstance(retried, str):
        message = f"Redis is unreachable ({retried}). Nothing is lost: due rows are enqueued when it is back"
        fail_command("dead", message, 2)
    for letter in retried:
        print(f"{letter.id}: {len(letter.row_ids)} rows enqueued again for {letter.actor}")
    if not retried and letter_id is not None:
        fail_command("dead", f"there is no dead message {letter_id}: it was retried, or deleted after 3 days")
    if not retried:
        print("no dead messages")


def _retry_letters(client: "redis.Redis", letter_id: str | None, queues: tuple[str, ...]) -> list[DeadLetter]:
    retried = []
    for letter in _load_letters(client, queues):
        if letter_id in (None, letter.id) and retry_dead_letter(client, letter.queue, letter.id):
            retried.append(letter)
    return retried


def _load_letters(client: "redis.Redis", queues: tuple[str, ...]) -> list[DeadLetter]:
    return [letter for queue in queues for letter in load_dead_letters(client, queue)]


def _check_queue(queue: str | None) -> tuple[str, ...]:
    """Return the named queue, or all; exit with 2 if it does not exist."""
    if queue is not None and queue not in QUEUES:
        fail_command("dead", f"there is no queue {queue!r}; the queues are {', '.join(QUEUES)}", 2)
    return QUEUES if queue is None else (queue,)


def _print_letters(letters: list[DeadLetter] | str, pending: dict[str, int] | str) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160)
    if isinstance(letters, str):
        console.print(f"Redis is unreachable ({escape(letters)}): dead messages can't be listed.")
        return
    if not letters:
        console.print("No dead messages.")
        return
    table = Table(title="Messages whose actor failed", title_justify="left", box=None)
    for name in ("id", "actor", "rows", "still due", "failed", "times", "error"):
        table.add_column(name, justify="right" if name in ("still due", "times") else "left", overflow="fold")
    for letter in letters:
        ids = " ".join(str(row_id) for row_id in letter.row_ids[:IDS_SHOWN_MAX])
        more = f" and {len(letter.row_ids) - IDS_SHOWN_MAX} more" if len(letter.row_ids) > IDS_SHOWN_MAX else ""
        still_due = "?" if isinstance(pending, str) else f"{pending[letter.id]} of {len(letter.row_ids)}"
        failed_at = f"{letter.failed_at:%m-%d %H:%M:%S}"
        error = escape(letter.error or "?")
        table.add_row(letter.id, letter.actor, ids + more, still_due, failed_at, str(letter.times), error)
    console.print(table)
    console.print("The scheduler enqueues rows that are still due; `ovnpay dead retry ID` does it now.")


def _print_abandoned(abandoned: list[AbandonedCount] | str) -> None:
    if isinstance(abandoned, str):
        print(f"\nThe database is unreachable ({abandoned}): rows that need a person can't be listed.")
        return
    counts = [count for count in abandoned if count.number]
    print("\nRows that need a person:" if counts else "\nNo rows need a person.")
    for count in counts:
        oldest = f"{count.oldest:%Y-%m-%d %H:%M} UTC"
        print(f"  {count.number} {count.kind.what}; the oldest since {oldest}: {count.kind.command}")


def _document(
    letters: list[DeadLetter] | str, pending: dict[str, int] | str, abandoned: list[AbandonedCount] | str
) -> dict[str, Any]:
    return {
        "redis": letters if isinstance(letters, str) else "ok",
        "database": abandoned if isinstance(abandoned, str) else "ok",
        "letters": [] if isinstance(letters, str) else [_letter_json(letter, pending) for letter in letters],
        "rows": []
        if isinstance(abandoned, str)
        else [
            {
                "kind": count.kind.name,
                "what": count.kind.what,
                "count": count.number,
                "oldest": count.oldest and format_rfc3339(count.oldest),
                "goesOnBy": count.kind.command,
            }
            for count in abandoned
        ],
    }


def _letter_json(letter: DeadLetter, pending: dict[str, int] | str) -> dict[str, Any]:
    return {
        "id": letter.id,
        "queue": letter.queue,
        "actor": letter.actor,
        "rows": [str(row_id) for row_id in letter.row_ids],
        "stillWaiting": None if isinstance(pending, str) else pending[letter.id],
        "times": letter.times,
        "firstFailedAt": format_rfc3339(letter.first_failed_at),
        "failedAt": format_rfc3339(letter.failed_at),
        "error": letter.error,
    }
