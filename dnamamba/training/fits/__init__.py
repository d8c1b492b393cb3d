"""The two ways of finding a head: by gradient, or in closed form."""
