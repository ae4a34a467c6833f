"""The lines of the table, one a file: each has a `LINE`."""
