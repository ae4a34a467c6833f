"""`ovnpay` as a client: what a payroll clerk types. It knows the public API and a key, and nothing of the installation."""
