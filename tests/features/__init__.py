"""Tests of the scalar features."""
