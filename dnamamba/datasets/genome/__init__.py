"""Windows of one genome."""
