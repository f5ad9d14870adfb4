"""Labels by people: marks on training images, spread over the surface at once, served as a page."""
