"""Decodes pictures in processes that can be killed."""
