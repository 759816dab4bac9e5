"""Checks what a machine has, what is missing and how to get it."""
