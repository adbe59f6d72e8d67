"""Restoration of photographs: networks that undo a degradation of which pairs can be made."""
