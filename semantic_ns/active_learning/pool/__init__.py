"""The pool: what a field renders in the training poses, and the units that labels may be asked for."""
