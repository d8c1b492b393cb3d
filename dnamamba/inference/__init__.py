"""What one does with a trained model: plain functions, and what the commands of the same names run."""
