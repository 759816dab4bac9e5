"""Tests mirror the packages; tests/support/tiny.py holds the small real parts that they share."""
