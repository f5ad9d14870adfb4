"""Work in processes of this machine: their limits, their share of the cores, and many of them at a time."""
