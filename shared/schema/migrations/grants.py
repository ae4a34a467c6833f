"""Privileges of the database roles on each table, applied by `ovnpay migrate`.

The owner role is used for migrations only. `ovnpay_service`, for all processes and commands, can append to the ledger
and the histories but neither change them nor disable their triggers. `ovnpay_reader` is for people and reports. Both
are groups without login: operators create login roles as members.
"""

from typing import Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, ProgrammingError

SERVICE_ROLE: Final = "ovnpay_service"
READER_ROLE: Final = "ovnpay_reader"

READ: Final = ("SELECT",)
READ_APPEND: Final = ("SELECT", "INSERT")
READ_WRITE: Final = ("SELECT", "INSERT", "UPDATE")
READ_WRITE_DELETE: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")
"""For rows that are deleted, by a request or by retention."""


class Grant(NamedTuple):
    service: tuple[str, ...]
    """Privileges of the services; never TRUNCATE, TRIGGER or REFERENCES."""
    hidden: frozenset[str] = frozenset()
    """Columns that readers can't select: hashes of credentials and encrypted data."""
    masked: frozenset[str] = frozenset()
    """Columns of an append-only table that the services may update; a trigger allows masking only."""


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
"""Every table; tests compare it with the models, and the append-only tables with the database's triggers."""

APPEND_ONLY_TABLES: Final = tuple(name for name, grant in TABLE_GRANTS.items() if grant.service == READ_APPEND)

CREATE_ROLES_SQL: Final = f"CREATE ROLE {SERVICE_ROLE} NOLOGIN; CREATE ROLE {READER_ROLE} NOLOGIN;"
ROLES_MISSING: Final = (
    f"the roles {SERVICE_ROLE} and {READER_ROLE} do not exist and this role may not create them, so only the owner can "
    f"use the tables; once, as a superuser or a role with CREATEROLE: {CREATE_ROLES_SQL} then `ovnpay migrate` again"
)

NOT_TABLE_OWNER: Final = (
    "this role does not own the tables, so the grants were not updated; set OVNPAY_MIGRATION_DATABASE_URL to the URL "
    "of the role that owns them"
)


# Whether the role owns the tables.
_IS_OWNER: Final = sa.text(
    "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass('alembic_version')"
)
# Reads the existing tables and columns, in order.
_COLUMNS: Final = sa.text("""
    SELECT relname, attname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
    WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')
          AND relname = ANY(:tables) AND attnum > 0 AND NOT attisdropped ORDER BY relname, attnum
""")


def apply_grants(connection: sa.Connection) -> str | None:
    """Give both roles exactly the privileges of `TABLE_GRANTS`, in the migration's transaction.

    Returns what the operator must do if it can't: the roles are missing, or another role owns the tables.
    """
    if not connection.scalar(_IS_OWNER):
        return NOT_TABLE_OWNER
    if not all(_ensure_role(connection, role) for role in (SERVICE_ROLE, READER_ROLE)):
        return ROLES_MISSING
    columns: dict[str, list[str]] = {}
    for table, column in connection.execute(_COLUMNS, {"tables": list(TABLE_GRANTS)}):
        columns.setdefault(table, []).append(column)
    statements = _schema_statements(connection)
    for table, names in columns.items():
        grant = TABLE_GRANTS[table]
        readable = f" ({', '.join(name for name in names if name not in grant.hidden)})" if grant.hidden else ""
        statements += [
            f"REVOKE ALL ON {table} FROM PUBLIC, {SERVICE_ROLE}, {READER_ROLE}",
            f"GRANT {', '.join(grant.service)} ON {table} TO {SERVICE_ROLE}",
            f"GRANT SELECT{readable} ON {table} TO {READER_ROLE}",
            *(
                f"GRANT UPDATE ({name}) ON {table} TO {SERVICE_ROLE}"
                for name in sorted(grant.masked.intersection(names))
            ),
        ]
    connection.exec_driver_sql("; ".join(statements))
    return None


# Reads the tables, of those given, that the role can modify.
_MODIFIABLE: Final = sa.text("""
    SELECT relname FROM pg_class
    WHERE relnamespace = current_schema()::regnamespace AND relname = ANY(:tables)
          AND (has_table_privilege(oid, 'UPDATE, DELETE, TRUNCATE, TRIGGER') OR pg_has_role(relowner, 'MEMBER'))
    ORDER BY relname
""")


def modifiable_append_only_tables(connection: sa.Connection) -> list[str]:
    """The append-only tables that the connection's role can modify."""
    return list(connection.scalars(_MODIFIABLE, {"tables": list(APPEND_ONLY_TABLES)}))


# Reads the schema's name and the roles' privileges on it.
_SCHEMA_PRIVILEGES: Final = sa.text("""
    SELECT quote_ident(current_schema()),
           has_schema_privilege(:service, current_schema(), 'USAGE')
           AND has_schema_privilege(:reader, current_schema(), 'USAGE'),
           has_schema_privilege(:service, current_schema(), 'CREATE')
""")


def _schema_statements(connection: sa.Connection) -> list[str]:
    """Statements that let both roles use the schema, and only its owner create tables."""
    schema, usable, creatable = connection.execute(
        _SCHEMA_PRIVILEGES, {"service": SERVICE_ROLE, "reader": READER_ROLE}
    ).one()
    statements = [] if usable else [f"GRANT USAGE ON SCHEMA {schema} TO {SERVICE_ROLE}, {READER_ROLE}"]
    if creatable:
        statements.append(f"REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC, {SERVICE_ROLE}")
    return statements


def _ensure_role(connection: sa.Connection, role: str) -> bool:
    """Create the role if it is missing; False if that is not allowed."""
    if connection.scalar(sa.text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}):
        return True
    try:
        with connection.begin_nested():
            connection.exec_driver_sql(f"CREATE ROLE {role} NOLOGIN")
    except ProgrammingError as error:
        return getattr(error.orig, "sqlstate", None) == "42710"  # duplicate_object: created meanwhile
    except IntegrityError:  # the same race on the catalog's unique index
        return True
    return True
