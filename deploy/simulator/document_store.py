"""Document store: one SQLite file, written in group commits, that survives `kill -9`.

Documents are changed in memory, in one step without an `await`, and marked by `save`. At the end of the event loop's
iteration, or a few milliseconds after the last commit, one transaction writes everything marked: concurrent requests
share it, and each request's changes are committed together with its stored response. No response is sent before
`committed()`.

The transaction runs on the event loop: in a thread, executemany would wait for the interpreter lock at every row. Only
the checkpoint runs in a thread. WAL without fsync survives a killed process, but not a power failure.
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
# An idle store commits at the end of the iteration; a busy one collects for this long, since a commit costs as much as
# a dozen rows.
COLLECT_SECONDS = 0.004

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
INSERT_RESPONSE = "INSERT INTO answers (mode, key, fingerprint, status, body) VALUES (?, ?, ?, ?, ?)"
INSERT_MARK = "INSERT OR IGNORE INTO marks (id) VALUES (?)"
UPSERT_NOTE = "INSERT OR REPLACE INTO notes (id, doc) VALUES (?, ?)"


# Kinds with an index of due documents. Events need none: all of them are due.
TIMED_KINDS: tuple[type[Document], ...] = (Payment, Recipient, Topup)


class _Table:
    """The table of a kind of document, and its documents in memory."""

    def __init__(self, kind: type[Document]) -> None:
        self.kind = kind
        self.decoder = msgspec.json.Decoder(kind)
        self.loaded: dict[str, Document] = {}
        """Every document that is due or not committed yet; there must be no other copy."""
        self.dirty: dict[str, Document] = {}
        self.deleted: list[tuple[str]] = []
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
    """Every document, stored response and note of the simulator. Call it in the event loop's thread only."""

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
        self._tables = {kind: _Table(kind) for kind in kinds}
        self._db.executescript("".join(table.create() for table in self._tables.values()) + SCHEMA)
        self._responses: dict[tuple[str, str], tuple[bytes, int, bytes]] = {}
        self._notes: dict[str, Any] = {}
        self._marks: list[tuple[str]] = []
        self._flush: asyncio.Future[None] | None = None
        self._committed_at = 0.0
        self._rows_since_checkpoint = 0
        self._checkpoint: asyncio.Task[None] | None = None
        self.on_commit: list[Callable[[], None]] = []

    def save(self, document: Document) -> None:
        """Mark a document as changed, for the next commit."""
        table = self._tables[type(document)]
        table.loaded[document.id] = table.dirty[document.id] = document
        self._schedule()

    def delete(self, document: Document) -> None:
        table = self._tables[type(document)]
        table.dirty.pop(document.id, None)
        table.loaded.pop(document.id, None)
        table.deleted.append((document.id,))
        self._schedule()

    def save_response(self, mode: str, key: str, fingerprint: bytes, status: int, body: bytes) -> None:
        self._responses[mode, key] = (fingerprint, status, body)
        self._schedule()

    def save_note(self, name: str, value: Any) -> None:
        """Save small state (fault rules, counters), as it is at the commit."""
        self._notes[name] = value
        self._schedule()

    def save_mark(self, mark: str) -> None:
        """Record that something has happened."""
        self._marks.append((mark,))
        self._schedule()

    def load_marks(self) -> set[str]:
        return {mark for (mark,) in self.rows("SELECT id FROM marks")}

    def load_note(self, name: str, kind: Any) -> Any:
        """Return the note, or None."""
        row = self._db.execute("SELECT doc FROM notes WHERE id = ?", (name,)).fetchone()
        return None if row is None else msgspec.json.decode(row[0], type=kind)

    async def committed(self) -> None:
        """Wait until everything saved so far is committed."""
        if self._flush is not None:
            await asyncio.shield(self._flush)

    def get(self, kind: type[K], document_id: str) -> K | None:
        table = self._tables[kind]
        document = table.loaded.get(document_id)
        if document is None:
            query = f"SELECT doc FROM {kind.table} WHERE id = ?"
            row = self._db.execute(query, (document_id,)).fetchone()
            document = None if row is None else table.decoder.decode(row[0])
        return document  # type: ignore[return-value]

    def load_due(self, kind: type[K]) -> list[K]:
        """Load every document with a timer into memory."""
        table = self._tables[kind]
        rows = self._db.execute(f"SELECT doc FROM {kind.table} WHERE due ORDER BY id")
        table.loaded.update((document.id, document) for document in map(table.decoder.decode, _first(rows)))
        return list(table.loaded.values())  # type: ignore[arg-type]

    def select(self, kind: type[K], where: str, parameters: Iterable[Any], tail: str) -> list[K]:
        """Return committed documents. Await `committed()` before, or the list may miss a confirmed change."""
        table = self._tables[kind]
        docs = self._db.execute(f"SELECT doc FROM {kind.table} WHERE {where} {tail}", tuple(parameters))
        return [table.loaded.get(found.id, found) for found in map(table.decoder.decode, _first(docs))]  # type: ignore[misc]

    def rows(self, query: str, parameters: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        return self._db.execute(query, tuple(parameters)).fetchall()

    def stored_response(self, mode: str, key: str) -> tuple[bytes, int, bytes] | None:
        """Return the stored response of an idempotency key: fingerprint, status, body."""
        fresh = self._responses.get((mode, key))
        if fresh is not None:
            return fresh
        query = "SELECT fingerprint, status, body FROM answers WHERE mode = ? AND key = ?"
        row: tuple[bytes, int, bytes] | None = self._db.execute(query, (mode, key)).fetchone()
        return row

    def _schedule(self) -> None:
        if self._flush is None:
            loop = asyncio.get_running_loop()
            self._flush = loop.create_future()
            wait_seconds = self._committed_at + COLLECT_SECONDS - loop.time()
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
            # Mark the exception as read: after a timer's change no caller may wait for it.
            done.exception()
            raise
        self._committed_at = asyncio.get_running_loop().time()
        done.set_result(None)
        for callback in self.on_commit:
            callback()
        self._checkpoint_if_long()

    def _write(self) -> None:
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            for table in self._tables.values():
                if table.dirty:
                    self._rows_since_checkpoint += len(table.dirty)
                    db.executemany(table.upsert, map(table.row, table.dirty.values()))
                if table.deleted:
                    db.executemany(f"DELETE FROM {table.kind.table} WHERE id = ?", table.deleted)
            if self._responses:
                db.executemany(INSERT_RESPONSE, ((*key, *stored) for key, stored in self._responses.items()))
            if self._notes:
                notes = ((name, msgspec.json.encode(value).decode()) for name, value in self._notes.items())
                db.executemany(UPSERT_NOTE, notes)
            if self._marks:
                db.executemany(INSERT_MARK, self._marks)
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            raise
        for table in self._tables.values():
            for document in table.dirty.values():
                if document.due_at is None:
                    table.loaded.pop(document.id, None)
            table.dirty.clear()
            table.deleted.clear()
        self._responses.clear()
        self._notes.clear()
        self._marks.clear()

    def _checkpoint_if_long(self) -> None:
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
            # The rest, committed meanwhile, is short; only TRUNCATE shrinks the log.
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    async def close(self) -> None:
        await self.committed()
        if self._checkpoint is not None:
            await asyncio.wait((self._checkpoint,))
        self._db.close()


def _first(rows: Iterable[tuple[Any, ...]]) -> Iterable[Any]:
    return (row[0] for row in rows)
