"""Transforms of an image: a bank, a 3-D bank on frames, a stack; how each is planned and started."""
