"""More than one machine: bulk scoring and serving with Ray; `make scale-test` runs the long ones."""
