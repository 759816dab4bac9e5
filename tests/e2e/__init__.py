"""Real processes on the full-size demo checkpoint."""
