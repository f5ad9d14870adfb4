"""Scores: pure metrics and the pipeline that reports them."""
