"""What is done with a model's answer to one question about a sequence, a file per kind of answer."""
