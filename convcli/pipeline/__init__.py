"""Kernels and stacks on images: ask, plan, run, write, batch."""
