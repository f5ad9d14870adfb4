"""The fused CPU kernels of the field: encoding to colour, features and gradients in one pass."""
