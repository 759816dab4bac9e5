"""Tests of the network, its checkpoint and the reference engine."""
