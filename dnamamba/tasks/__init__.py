"""Names of version 0.1, for programs that import them: what they stand for has moved to `training`."""
