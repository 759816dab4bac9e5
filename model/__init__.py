"""The network and its checkpoint. Knows tensors and files; imports none of the other packages."""
