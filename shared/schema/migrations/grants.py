"""Who may do what to which table: the services' role, the readers' role, and how they come to it.

Three roles share the database. The owner migrates and owns the tables; only `ovnpay migrate` and the migrating part of
`ovnpay bootstrap` use it. `ovnpay_service` is what gateway, workers, scheduler and commands need and no more: it adds
to the ledger and the histories but can't change them, nor switch off the triggers that say so. `ovnpay_reader` is for
people and reports. Both are groups without a login; operators make logins and grant them one of the two.
"""

from typing import Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, ProgrammingError

SERVICE: Final = "ovnpay_service"
READER: Final = "ovnpay_reader"

LOOKED_UP: Final = ("SELECT",)
APPENDED: Final = ("SELECT", "INSERT")
KEPT: Final = ("SELECT", "INSERT", "UPDATE")
"""Rows that change and stay."""
FORGOTTEN: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")
"""Rows that are deleted when their time is over."""


class Grant(NamedTuple):
    """What the two roles may do to a table."""

    service: tuple[str, ...]
    """The services' privileges; never TRUNCATE, TRIGGER or REFERENCES."""
    hidden: frozenset[str] = frozenset()
    """Columns that the reader does not see: hashes of what opens something, and what is sealed."""
    masked: frozenset[str] = frozenset()
    """Columns that the services may change although they can only add rows; a trigger says to what."""


TABLES: Final = {
    "accounts": Grant(KEPT),
    "alembic_version": Grant(LOOKED_UP),
    "analytics_drivers": Grant(FORGOTTEN),
    "analytics_failures": Grant(FORGOTTEN),
    "analytics_folds": Grant(FORGOTTEN),
    "analytics_totals": Grant(FORGOTTEN),
    "api_keys": Grant(KEPT, frozenset({"key_hash", "key_pepper", "previous_key_hash"})),
    "audit_entries": Grant(APPENDED),
    "batches": Grant(KEPT),
    "customer_events": Grant(APPENDED, masked=frozenset({"data"})),
    "drivers": Grant(KEPT, frozenset({"sealed_details"})),
    "idempotency_keys": Grant(FORGOTTEN, frozenset({"answer"})),
    "installation": Grant(KEPT),
    "invariant_proofs": Grant(KEPT),
    "list_counts": Grant(KEPT),
    "organizations": Grant(KEPT),
    "outgoing_holds": Grant(KEPT),
    "payout_resolutions": Grant(KEPT),
    "payout_transitions": Grant(APPENDED),
    "payouts": Grant(KEPT),
    "prices": Grant(LOOKED_UP),
    "provider_calls": Grant(FORGOTTEN),
    "provider_events": Grant(KEPT),
    "provider_limits": Grant(KEPT),
    "reconciliation_cases": Grant(KEPT),
    "reconciliation_runs": Grant(KEPT),
    "retention_marks": Grant(KEPT),
    "sessions": Grant(FORGOTTEN, frozenset({"token_hash"})),
    "submission_items": Grant(KEPT),
    "submissions": Grant(KEPT),
    "topups": Grant(KEPT),
    "transfers": Grant(APPENDED),
    "users": Grant(KEPT, frozenset({"password_hash"})),
    "wallets": Grant(KEPT),
    "webhook_deliveries": Grant(FORGOTTEN),
    "webhook_endpoints": Grant(FORGOTTEN, frozenset({"sealed_secret", "sealed_previous_secret"})),
}
"""Every table has a row; a test compares them with the models, and the appended ones with the database's triggers."""

APPEND_ONLY: Final = tuple(name for name, grant in TABLES.items() if grant.service == APPENDED)

MAKE_ROLES: Final = f"CREATE ROLE {SERVICE} NOLOGIN; CREATE ROLE {READER} NOLOGIN;"
ROLES_MISSING: Final = (
    f"the roles {SERVICE} and {READER} do not exist and this role may not create them, so the tables are their owner's "
    f"alone; once, as a superuser or a role with CREATEROLE: {MAKE_ROLES} then run `ovnpay migrate` again"
)

NOT_THE_OWNER: Final = (
    "this role does not own the tables, so what other roles may do to them stays as it is; set "
    "OVNPAY_MIGRATION_DATABASE_URL to the URL of the role that owns them"
)


def apply(connection: sa.Connection) -> str | None:
    """Gives both roles exactly what `TABLES` says, in the migration's transaction: no service sees a new table before
    it may use it. Returns what a person has to do where it can't: roles are missing, or the tables another's.
    """
    if not connection.scalar(
        sa.text("SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass('alembic_version')")
    ):
        return NOT_THE_OWNER
    if not all(_ensure(connection, role) for role in (SERVICE, READER)):
        return ROLES_MISSING
    columns: dict[str, list[str]] = {}
    for table, column in connection.execute(
        sa.text("""
            SELECT relname, attname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
            WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')
                  AND relname = ANY(:tables) AND attnum > 0 AND NOT attisdropped ORDER BY relname, attnum
        """),
        {"tables": list(TABLES)},
    ):
        columns.setdefault(table, []).append(column)
    statements = _of_the_schema(connection)
    for table, found in columns.items():
        grant = TABLES[table]
        seen = f" ({', '.join(name for name in found if name not in grant.hidden)})" if grant.hidden else ""
        statements += [
            f"REVOKE ALL ON {table} FROM PUBLIC, {SERVICE}, {READER}",
            f"GRANT {', '.join(grant.service)} ON {table} TO {SERVICE}",
            f"GRANT SELECT{seen} ON {table} TO {READER}",
            *(f"GRANT UPDATE ({name}) ON {table} TO {SERVICE}" for name in sorted(grant.masked.intersection(found))),
        ]
    connection.exec_driver_sql("; ".join(statements))
    return None


def changeable(connection: sa.Connection) -> list[str]:
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
            {"tables": list(APPEND_ONLY)},
        )
    )


def _of_the_schema(connection: sa.Connection) -> list[str]:
    """Both roles may use the schema; nobody else may make tables in it, as in databases since PostgreSQL 15."""
    schema, usable, open_to_all = connection.execute(
        sa.text("""
            SELECT quote_ident(current_schema()),
                   has_schema_privilege(:service, current_schema(), 'USAGE')
                   AND has_schema_privilege(:reader, current_schema(), 'USAGE'),
                   has_schema_privilege(:service, current_schema(), 'CREATE')
        """),
        {"service": SERVICE, "reader": READER},
    ).one()
    statements = [] if usable else [f"GRANT USAGE ON SCHEMA {schema} TO {SERVICE}, {READER}"]
    return [*statements, f"REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC, {SERVICE}"] if open_to_all else statements


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
