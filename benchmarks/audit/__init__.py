"""Precision and recall of sns-audit-labels on planted errors."""
