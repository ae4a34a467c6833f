"""How does Paystream's memory survive a crash? One SQLite file, written in group commits.

Changes are made to the documents in memory, in one step without an `await`, and marked with `keep`. At the end of
the event loop's turn, or a few milliseconds after the last commit, one transaction writes everything marked: requests
that arrive meanwhile share it, and each request's effects land together with its stored answer. Nothing may be
answered before `committed()`.

The transaction runs on the event loop, not in a thread: executemany gives up the interpreter lock at every row, and a
thread competing with a busy loop then waits for it again and again. Only the checkpoint, one long call,
has a thread. WAL without fsync survives a killed process, which is what is promised, though not a power cut.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from deploy.simulator.documents import Balance, BalanceEntry, Batch, Document, Payment, Recipient, Topup, WebhookEvent

K = TypeVar("K", bound=Document)

CHECKPOINT_EVERY_ROWS = 10_000
# An idle record commits at the end of the turn; a busy one gathers this long, since a commit costs as much as
# a dozen rows, and its neighbours in the file share their pages.
GATHER_SECONDS = 0.004

SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    mode TEXT NOT NULL, key TEXT NOT NULL, fingerprint BLOB NOT NULL, status INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (mode, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS marks (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notes (id TEXT PRIMARY KEY, doc TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS payments_by_status ON payments (mode, status, id);
CREATE INDEX IF NOT EXISTS payments_by_recipient ON payments (recipient_id, id);
CREATE INDEX IF NOT EXISTS payments_by_batch ON payments (batch_id, id) WHERE batch_id IS NOT NULL;
"""
INSERT_ANSWER = "INSERT INTO answers (mode, key, fingerprint, status, body) VALUES (?, ?, ?, ?, ?)"
INSERT_MARK = "INSERT OR IGNORE INTO marks (id) VALUES (?)"
UPSERT_NOTE = "INSERT OR REPLACE INTO notes (id, doc) VALUES (?, ?)"


# Events need no such index: all of them are due.
TIMED_KINDS: tuple[type[Document], ...] = (Payment, Recipient, Topup)


class _Shelf:
    """The table of one kind of document, with what of it is in memory."""

    def __init__(self, kind: type[Document]) -> None:
        self.kind = kind
        self.decoder = msgspec.json.Decoder(kind)
        self.held: dict[str, Document] = {}
        """Every document that is due or not yet committed; no other copy of these may be made."""
        self.dirty: dict[str, Document] = {}
        self.dropped: list[tuple[str]] = []
        names = ("id", "mode", "due", *kind.columns, "doc")
        updates = ", ".join(f"{name} = excluded.{name}" for name in names[2:])
        self.upsert = (
            f"INSERT INTO {kind.table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))}) "
            f"ON CONFLICT (id) DO UPDATE SET {updates}"
        )

    def create(self) -> str:
        columns = "".join(f", {name} TEXT" for name in self.kind.columns)
        table = self.kind.table
        return (
            f"CREATE TABLE IF NOT EXISTS {table} (id TEXT PRIMARY KEY, mode TEXT NOT NULL, due INTEGER NOT NULL"
            f"{columns}, doc TEXT NOT NULL) WITHOUT ROWID;"
            + (f"CREATE INDEX IF NOT EXISTS {table}_due ON {table} (id) WHERE due;" if self.kind in TIMED_KINDS else "")
        )

    def row(self, document: Document) -> tuple[Any, ...]:
        columns = [getattr(document, name) for name in self.kind.columns]
        doc = msgspec.json.encode(document).decode()
        return (document.id, document.mode, document.due_at is not None, *columns, doc)


class DocumentStore:
    """Every document, stored answer and note of the simulator. All methods belong to the event loop's thread."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute("PRAGMA busy_timeout = 5000")
        if path is not None:
            self._db.execute("PRAGMA wal_autocheckpoint = 0")
        kinds: tuple[type[Document], ...] = (Payment, Batch, Recipient, Topup, Balance, BalanceEntry, WebhookEvent)
        self._shelves = {kind: _Shelf(kind) for kind in kinds}
        self._db.executescript("".join(shelf.create() for shelf in self._shelves.values()) + SCHEMA)
        self._answers: dict[tuple[str, str], tuple[bytes, int, bytes]] = {}
        self._notes: dict[str, Any] = {}
        self._marks: list[tuple[str]] = []
        self._flush: asyncio.Future[None] | None = None
        self._committed_at = 0.0
        self._rows_since_checkpoint = 0
        self._checkpoint: asyncio.Task[None] | None = None
        self.on_commit: list[Callable[[], None]] = []

    def keep(self, document: Document) -> None:
        """Marks a document as changed: it is part of the next commit."""
        shelf = self._shelves[type(document)]
        shelf.held[document.id] = shelf.dirty[document.id] = document
        self._schedule()

    def drop(self, document: Document) -> None:
        shelf = self._shelves[type(document)]
        shelf.dirty.pop(document.id, None)
        shelf.held.pop(document.id, None)
        shelf.dropped.append((document.id,))
        self._schedule()

    def keep_answer(self, mode: str, key: str, fingerprint: bytes, status: int, body: bytes) -> None:
        self._answers[mode, key] = (fingerprint, status, body)
        self._schedule()

    def keep_note(self, name: str, value: Any) -> None:
        """Small state of the simulator itself (fault rules, counters), written as it is at the commit."""
        self._notes[name] = value
        self._schedule()

    def keep_mark(self, mark: str) -> None:
        """That something has happened once and for all."""
        self._marks.append((mark,))
        self._schedule()

    def marks(self) -> set[str]:
        """The marks of earlier processes."""
        return {mark for (mark,) in self.rows("SELECT id FROM marks")}

    def note(self, name: str, kind: Any) -> Any:
        """The note of that name as loaded at start, or None."""
        row = self._db.execute("SELECT doc FROM notes WHERE id = ?", (name,)).fetchone()
        return None if row is None else msgspec.json.decode(row[0], type=kind)

    async def committed(self) -> None:
        """Returns when everything kept so far is on disk."""
        if self._flush is not None:
            await asyncio.shield(self._flush)

    def get(self, kind: type[K], document_id: str) -> K | None:
        shelf = self._shelves[kind]
        document = shelf.held.get(document_id)
        if document is None:
            query = f"SELECT doc FROM {kind.table} WHERE id = ?"
            row = self._db.execute(query, (document_id,)).fetchone()
            document = None if row is None else shelf.decoder.decode(row[0])
        return document  # type: ignore[return-value]

    def load_due(self, kind: type[K]) -> list[K]:
        """Every document that acts by itself, into memory."""
        shelf = self._shelves[kind]
        rows = self._db.execute(f"SELECT doc FROM {kind.table} WHERE due ORDER BY id")
        shelf.held.update((document.id, document) for document in map(shelf.decoder.decode, _first(rows)))
        return list(shelf.held.values())  # type: ignore[arg-type]

    def find(self, kind: type[K], where: str, parameters: Iterable[Any], tail: str) -> list[K]:
        """Committed documents; callers await `committed()` first, so that a list never lags behind an answer."""
        shelf = self._shelves[kind]
        docs = self._db.execute(f"SELECT doc FROM {kind.table} WHERE {where} {tail}", tuple(parameters))
        return [shelf.held.get(found.id, found) for found in map(shelf.decoder.decode, _first(docs))]  # type: ignore[misc]

    def rows(self, query: str, parameters: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        return self._db.execute(query, tuple(parameters)).fetchall()

    def answer(self, mode: str, key: str) -> tuple[bytes, int, bytes] | None:
        """The stored answer of an idempotency key: (fingerprint, status, body)."""
        fresh = self._answers.get((mode, key))
        if fresh is not None:
            return fresh
        query = "SELECT fingerprint, status, body FROM answers WHERE mode = ? AND key = ?"
        row: tuple[bytes, int, bytes] | None = self._db.execute(query, (mode, key)).fetchone()
        return row

    def _schedule(self) -> None:
        if self._flush is None:
            loop = asyncio.get_running_loop()
            self._flush = loop.create_future()
            wait_seconds = self._committed_at + GATHER_SECONDS - loop.time()
            if wait_seconds > 0:
                loop.call_later(wait_seconds, self._commit)
            else:
                loop.call_soon(self._commit)

    def _commit(self) -> None:
        done, self._flush = self._flush, None
        assert done is not None
        try:
            self._write()
        except Exception as error:
            done.set_exception(error)
            # Nobody may be waiting (a timer's change), and asyncio would complain about the unread exception.
            done.exception()
            raise
        self._committed_at = asyncio.get_running_loop().time()
        done.set_result(None)
        for callback in self.on_commit:
            callback()
        self._checkpoint_when_long()

    def _write(self) -> None:
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            for shelf in self._shelves.values():
                if shelf.dirty:
                    self._rows_since_checkpoint += len(shelf.dirty)
                    db.executemany(shelf.upsert, map(shelf.row, shelf.dirty.values()))
                if shelf.dropped:
                    db.executemany(f"DELETE FROM {shelf.kind.table} WHERE id = ?", shelf.dropped)
            if self._answers:
                db.executemany(INSERT_ANSWER, ((*key, *stored) for key, stored in self._answers.items()))
            if self._notes:
                notes = ((name, msgspec.json.encode(value).decode()) for name, value in self._notes.items())
                db.executemany(UPSERT_NOTE, notes)
            if self._marks:
                db.executemany(INSERT_MARK, self._marks)
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            raise
        for shelf in self._shelves.values():
            for document in shelf.dirty.values():
                if document.due_at is None:
                    shelf.held.pop(document.id, None)
            shelf.dirty.clear()
            shelf.dropped.clear()
        self._answers.clear()
        self._notes.clear()
        self._marks.clear()

    def _checkpoint_when_long(self) -> None:
        if self._path is None or self._rows_since_checkpoint < CHECKPOINT_EVERY_ROWS or self._checkpoint is not None:
            return
        self._rows_since_checkpoint = 0
        self._checkpoint = asyncio.get_running_loop().create_task(asyncio.to_thread(self._run_checkpoint))
        self._checkpoint.add_done_callback(self._checkpoint_done)

    def _run_checkpoint(self) -> None:
        db = sqlite3.connect(self._path or ":memory:", isolation_level=None)
        try:
            db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        finally:
            db.close()

    def _checkpoint_done(self, task: asyncio.Task[None]) -> None:
        self._checkpoint = None
        if task.exception() is None:
            # What was committed during the long one: little enough to do here, and only then does the log shrink.
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    async def close(self) -> None:
        await self.committed()
        if self._checkpoint is not None:
            await asyncio.wait((self._checkpoint,))
        self._db.close()


def _first(rows: Iterable[tuple[Any, ...]]) -> Iterable[Any]:
    return (row[0] for row in rows)
