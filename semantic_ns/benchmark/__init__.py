"""Benchmarks: many trainings of one kind, their scores, and tables and plots of them."""
