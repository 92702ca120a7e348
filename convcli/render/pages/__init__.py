"""Pages that explain by moving: the play page and the sliding window; data in, text or a picture out."""
