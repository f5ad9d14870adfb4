"""Scene folders to cameras, label paths and taxonomy."""
