"""Reporting: `analytics` for customers, `exporter` for Prometheus.

Derived from other packages' tables and never read by the money path. `analytics` owns the tables `analytics_*`;
folding locks a wallet's row of `analytics_folds`, and nothing else.
"""
