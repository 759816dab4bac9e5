"""Tests of the path from a raw video to model input."""
