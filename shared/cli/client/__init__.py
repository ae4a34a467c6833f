"""`ovnpay` as a client of the public API: what a payroll clerk types. It knows a URL and a key, and no database."""
