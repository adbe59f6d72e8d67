"""Which metrics, by which protocol, over which images; feature networks that are runs.

The mathematics of a metric lies in `metrics`, the published networks in `features`.
"""
