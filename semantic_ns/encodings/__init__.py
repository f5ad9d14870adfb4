"""Hash-grid encodings: one table layout, several back ends."""
