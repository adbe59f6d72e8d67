"""What is told of runs: tables of their numbers. Nothing is measured here."""
