"""The command: its flags, and a function for each mode. No other room imports it."""
