"""The .pt file: find it, check it, read it, write it."""
