"""What puts Miles on a machine: installer, container, health check. The service does not depend on it."""
