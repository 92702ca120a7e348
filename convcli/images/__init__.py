"""Pixels in and out: probe, read, write, sheets, metadata. Pillow, tifffile and isal are used here only."""
