"""The command line: its flags, and one function per mode. No other package imports it."""
