"""Many scenes, each of which is checked, trained, scored, audited and exported, as one job that can be resumed."""
