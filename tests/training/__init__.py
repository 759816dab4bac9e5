"""Training on small synthetic data, with real small encoders."""
