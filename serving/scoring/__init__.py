"""What runs once per video."""
