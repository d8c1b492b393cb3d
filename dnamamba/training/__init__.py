"""One run: its loop, its optimiser, its checkpoints and what may resume it."""
