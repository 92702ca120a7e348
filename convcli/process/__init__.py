"""The process: its standard streams, and the signals that end it (standard library only)."""
