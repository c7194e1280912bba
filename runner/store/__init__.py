"""The store: artifacts that appear complete or not at all, their fingerprints, and leases on work."""
