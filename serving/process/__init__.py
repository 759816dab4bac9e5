"""What runs once per process: signals, sockets, exit codes."""
