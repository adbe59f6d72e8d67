"""Metrics: what an evaluation measures."""
