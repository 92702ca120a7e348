"""The convolution layer as a command, and as functions on NumPy arrays."""

from __future__ import annotations

__version__ = "0.1.0"
