"""The database schema: enumerated values, row types that several packages share, tables and migrations.

`tables` is the data dictionary. Changing a table takes a migration and, if the table is new, privileges in
`migrations.grants`.
"""
