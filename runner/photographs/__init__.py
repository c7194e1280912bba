"""A user's own photographs, without a study."""
