"""Networks that were trained on photographs and give features of images."""
