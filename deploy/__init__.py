"""What puts Miles on a machine: installer, container, health check. The service knows nothing of it."""
