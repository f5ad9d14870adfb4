"""Models: fields, sampling, rendering and losses of one method each."""
