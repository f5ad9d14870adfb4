"""Checks of a labelled scene before any training: what is in it, whether its views agree, and what is wrong if not."""
