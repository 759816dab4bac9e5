"""Tests of the way from a raw video to model input."""
