"""The host process and its machine: heap, threads, flags, signals, compile cache, chips."""
