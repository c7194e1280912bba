"""Commands for a user's own photographs, without a study."""
