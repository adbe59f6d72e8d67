"""Losses: keywords in, one value an example out; the task reduces."""
