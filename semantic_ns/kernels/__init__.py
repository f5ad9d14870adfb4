"""Numeric parts that the CPU kernels of encodings, samplers and fields share."""
