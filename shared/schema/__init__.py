"""The database schema: values of enumerated columns, row types that several packages share, tables and migrations.

`tables` is the data dictionary: SQLAlchemy models that no service imports; only migrations and tests do. The enums here
list what a text column may hold. `batch_rows` and `controls` also define the rows that packages hand to each other.
Changing a table takes a migration in `migrations` and, if it is new, its privileges in `migrations.grants`.
"""
