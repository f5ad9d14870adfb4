"""The strategies: which of the units to ask for next."""
