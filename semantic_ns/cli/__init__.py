"""The `sns-*` commands."""
