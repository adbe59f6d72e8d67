"""Variational autoencoders, and what can be measured of them."""
