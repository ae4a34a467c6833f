"""Reporting: `analytics` for customers, `exporter` for Prometheus; the money path never reads it.

`analytics` owns the tables `analytics_*`; folding locks a row of `analytics_folds` only.
"""
