"""Images with their labels and depth, and the labels that training is to see of them."""
