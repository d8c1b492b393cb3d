"""The two ways of finding a head: by gradient descent, or by a closed form."""
