"""The benchmark of active learning: rounds on a field whose geometry is done, and cost curves."""
