"""Input labels that a trained field contradicts."""
