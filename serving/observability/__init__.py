"""What only an operator reads: metrics, traces, logs."""
