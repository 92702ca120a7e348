"""What the families of the catalogue compute: one module a subject, imported when one is asked for (NumPy)."""
