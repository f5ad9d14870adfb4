"""Files to arrays and back: images, HDF5, text; nothing in here knows a class."""
