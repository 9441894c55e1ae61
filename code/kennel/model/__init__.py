"""The network, its pretrained weights, and the archive it is stored in."""
