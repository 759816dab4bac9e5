"""The network and its checkpoint. Knows tensors and files; imports nothing of ours."""
