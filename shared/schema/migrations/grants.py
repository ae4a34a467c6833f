"""Who may do what to which table: the services' role, the readers' role, and how they come to it.

Three roles share the database. The owner migrates and owns the tables; only `ovnpay migrate` and the migrating part of
`ovnpay bootstrap` use it. `ovnpay_service` is what gateway, workers, scheduler and commands need and no more: it adds
to the ledger and the histories but can't change them, nor switch off the triggers that say so. `ovnpay_reader` is for
people and reports. Both are groups without a login; operators make logins and grant them one of the two.
"""

from typing import Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, ProgrammingError

SERVICE_ROLE: Final = "ovnpay_service"
READER_ROLE: Final = "ovnpay_reader"

READ: Final = ("SELECT",)
READ_APPEND: Final = ("SELECT", "INSERT")
READ_WRITE: Final = ("SELECT", "INSERT", "UPDATE")
"""Rows that change and stay."""
READ_WRITE_DELETE: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")
"""Rows that are deleted when their time is over."""


class Grant(NamedTuple):
    """What the two roles may do to a table."""

    service: tuple[str, ...]
    """The services' privileges; never TRUNCATE, TRIGGER or REFERENCES."""
    hidden: frozenset[str] = frozenset()
    """Columns that the reader does not see: hashes of what opens something, and what is sealed."""
    masked: frozenset[str] = frozenset()
    """Columns that the services may change although they can only add rows; a trigger says to what."""


TABLE_GRANTS: Final = {
    "accounts": Grant(READ_WRITE),
    "alembic_version": Grant(READ),
    "analytics_drivers": Grant(READ_WRITE_DELETE),
    "analytics_failures": Grant(READ_WRITE_DELETE),
    "analytics_folds": Grant(READ_WRITE_DELETE),
    "analytics_totals": Grant(READ_WRITE_DELETE),
    "api_keys": Grant(READ_WRITE, frozenset({"key_hash", "key_pepper", "previous_key_hash"})),
    "audit_entries": Grant(READ_APPEND),
    "batches": Grant(READ_WRITE),
    "customer_events": Grant(READ_APPEND, masked=frozenset({"data"})),
    "drivers": Grant(READ_WRITE, frozenset({"sealed_details"})),
    "idempotency_keys": Grant(READ_WRITE_DELETE, frozenset({"answer"})),
    "installation": Grant(READ_WRITE),
    "invariant_proofs": Grant(READ_WRITE),
    "list_counts": Grant(READ_WRITE),
    "organizations": Grant(READ_WRITE),
    "outgoing_holds": Grant(READ_WRITE),
    "payout_resolutions": Grant(READ_WRITE),
    "payout_transitions": Grant(READ_APPEND),
    "payouts": Grant(READ_WRITE),
    "prices": Grant(READ),
    "provider_calls": Grant(READ_WRITE_DELETE),
    "provider_events": Grant(READ_WRITE),
    "provider_limits": Grant(READ_WRITE),
    "reconciliation_cases": Grant(READ_WRITE),
    "reconciliation_runs": Grant(READ_WRITE),
    "retention_marks": Grant(READ_WRITE),
    "sessions": Grant(READ_WRITE_DELETE, frozenset({"token_hash"})),
    "submission_items": Grant(READ_WRITE),
    "submissions": Grant(READ_WRITE),
    "topups": Grant(READ_WRITE),
    "transfers": Grant(READ_APPEND),
    "users": Grant(READ_WRITE, frozenset({"password_hash"})),
    "wallets": Grant(READ_WRITE),
    "webhook_deliveries": Grant(READ_WRITE_DELETE),
    "webhook_endpoints": Grant(READ_WRITE_DELETE, frozenset({"sealed_secret", "sealed_previous_secret"})),
}
"""Every table has a row; a test compares them with the models, and the appended ones with the database's triggers."""

APPEND_ONLY_TABLES: Final = tuple(name for name, grant in TABLE_GRANTS.items() if grant.service == READ_APPEND)

CREATE_ROLES_SQL: Final = f"CREATE ROLE {SERVICE_ROLE} NOLOGIN; CREATE ROLE {READER_ROLE} NOLOGIN;"
ROLES_MISSING: Final = (
    f"the roles {SERVICE_ROLE} and {READER_ROLE} do not exist and this role may not create them, so only the owner can "
    f"use the tables; once, as a superuser or a role with CREATEROLE: {CREATE_ROLES_SQL} then `ovnpay migrate` again"
)

NOT_TABLE_OWNER: Final = (
    "this role does not own the tables, so what other roles may do to them stays as it is; set "
    "OVNPAY_MIGRATION_DATABASE_URL to the URL of the role that owns them"
)


def apply_grants(connection: sa.Connection) -> str | None:
    """Gives both roles exactly what `TABLE_GRANTS` says, in the migration's transaction: no service sees a new table
    before
    it may use it. Returns what a person has to do where it can't: roles are missing, or the tables another's.
    """
    if not connection.scalar(
        sa.text("SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass('alembic_version')")
    ):
        return NOT_TABLE_OWNER
    if not all(_ensure(connection, role) for role in (SERVICE_ROLE, READER_ROLE)):
        return ROLES_MISSING
    columns: dict[str, list[str]] = {}
    for table, column in connection.execute(
        sa.text("""
            SELECT relname, attname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
            WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')
                  AND relname = ANY(:tables) AND attnum > 0 AND NOT attisdropped ORDER BY relname, attnum
        """),
        {"tables": list(TABLE_GRANTS)},
    ):
        columns.setdefault(table, []).append(column)
    statements = _of_the_schema(connection)
    for table, found in columns.items():
        grant = TABLE_GRANTS[table]
        seen = f" ({', '.join(name for name in found if name not in grant.hidden)})" if grant.hidden else ""
        statements += [
            f"REVOKE ALL ON {table} FROM PUBLIC, {SERVICE_ROLE}, {READER_ROLE}",
            f"GRANT {', '.join(grant.service)} ON {table} TO {SERVICE_ROLE}",
            f"GRANT SELECT{seen} ON {table} TO {READER_ROLE}",
            *(
                f"GRANT UPDATE ({name}) ON {table} TO {SERVICE_ROLE}"
                for name in sorted(grant.masked.intersection(found))
            ),
        ]
    connection.exec_driver_sql("; ".join(statements))
    return None


def modifiable_append_only_tables(connection: sa.Connection) -> list[str]:
    """The append-only tables that the connection's own role could change; none for a role made as the head says."""
    return list(
        connection.scalars(
            sa.text("""
                SELECT relname FROM pg_class
                WHERE relnamespace = current_schema()::regnamespace AND relname = ANY(:tables)
                      AND (has_table_privilege(oid, 'UPDATE, DELETE, TRUNCATE, TRIGGER')
                           OR pg_has_role(relowner, 'MEMBER'))
                ORDER BY relname
            """),
            {"tables": list(APPEND_ONLY_TABLES)},
        )
    )


def _of_the_schema(connection: sa.Connection) -> list[str]:
    """Both roles may use the schema; nobody else may make tables in it, as in databases since PostgreSQL 15."""
    schema, is_usable, open_to_all = connection.execute(
        sa.text("""
            SELECT quote_ident(current_schema()),
                   has_schema_privilege(:service, current_schema(), 'USAGE')
                   AND has_schema_privilege(:reader, current_schema(), 'USAGE'),
                   has_schema_privilege(:service, current_schema(), 'CREATE')
        """),
        {"service": SERVICE_ROLE, "reader": READER_ROLE},
    ).one()
    statements = [] if is_usable else [f"GRANT USAGE ON SCHEMA {schema} TO {SERVICE_ROLE}, {READER_ROLE}"]
    return [*statements, f"REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC, {SERVICE_ROLE}"] if open_to_all else statements


def _ensure(connection: sa.Connection, role: str) -> bool:
    """Whether the role exists now. Roles belong to the server: another database's migration may make it meanwhile."""
    if connection.scalar(sa.text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}):
        return True
    try:
        with connection.begin_nested():
            connection.exec_driver_sql(f"CREATE ROLE {role} NOLOGIN")
    except ProgrammingError as error:
        return getattr(error.orig, "sqlstate", None) == "42710"  # it exists: made meanwhile; else we may not
    except IntegrityError:  # the same, a moment earlier
        return True
    return True
