"""The network and its checkpoint. Knows tensors and files; imports none of the other packages."""

VERSION = "1.0.0"  # of Miles: of the API, the packages and the code that writes a checkpoint
