"""Which photographs a study has, and how they become shards."""
