"""The rounds: when to ask, whom, and what a run keeps of the answers."""
