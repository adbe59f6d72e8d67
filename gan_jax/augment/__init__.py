"""Augmentation: every draw of an example comes from its own key."""
