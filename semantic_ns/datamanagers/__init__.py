"""Images, labels and rays for training and evaluation."""
