"""What a model is trained for: an objective per file, without Lightning."""
