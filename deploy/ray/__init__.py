"""Miles on Ray: towers as deployments of their own, manifests and the image."""
