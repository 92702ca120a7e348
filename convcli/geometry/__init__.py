"""Sizes, padding, receptive fields and multiply-adds in integers (standard library only)."""
