"""Whole trainings: combine data, method, evaluator and loop in a run's directory.

The parts themselves live in lower packages; nothing here depends on a method.
"""
