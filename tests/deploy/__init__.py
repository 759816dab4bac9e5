"""Tests of what puts Miles on a machine."""
