"""Tests mirror the packages; tests/tiny.py holds the small real parts that they share."""
