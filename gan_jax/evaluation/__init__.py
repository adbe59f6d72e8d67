"""Evaluation protocols: which metrics, on which images; trained runs as feature networks.

The mathematics of the metrics is in `metrics`, the published feature networks in `features`.
"""
