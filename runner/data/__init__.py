"""The photographs of a study, and their conversion to shards."""
