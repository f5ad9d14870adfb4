"""semantic-ngp: hash grids and an occupancy grid in place of the proposal network."""
