"""Fits the fusion head on real data and measures it; knows nothing about HTTP or serving."""
