"""The surface that a field shows: swept from the training poses, and divided into voxels."""
