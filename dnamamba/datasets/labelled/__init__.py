"""A user's own labelled sequences."""
