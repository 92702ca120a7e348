"""Families of kernels: MODULE.txt lists them, MODULE.py builds their taps and is imported on first use (NumPy)."""
