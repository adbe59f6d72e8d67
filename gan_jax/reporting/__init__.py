"""Reports on runs: tables of their metrics. Nothing is measured here."""
