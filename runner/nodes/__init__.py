"""Check each node of a cluster before it gets work: software, GPUs, weights, storage, disk, clock."""
