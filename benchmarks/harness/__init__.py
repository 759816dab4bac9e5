"""What benchmarks share: contestants, load, processes, reports."""
