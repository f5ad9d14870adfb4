"""The network of the Semantic-NeRF paper beside semantic-nerf."""
