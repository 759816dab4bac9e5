"""Fits the fusion head on real data and measures it; knows nothing of HTTP or of serving."""
