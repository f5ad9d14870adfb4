"""What the nerfstudio viewer shows beyond the pictures."""
