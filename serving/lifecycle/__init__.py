"""What runs once per model: load, check, swap, retire, supervise."""
