"""What a finished run shows: tables, files and pictures."""
