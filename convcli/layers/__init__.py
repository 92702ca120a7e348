"""A layer, a stack: text, sizes, weights, run. Standard library only until something runs."""
