"""Real services, tiny models and fakes that several tests share."""
