"""Whole trainings: data, method, evaluator and loop put together in a run's directory.

How each of these works lies below; nothing here knows a method or computes a number.
"""
