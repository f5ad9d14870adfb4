"""Labels that spread over the surface which a field has found, from pixels that have them to all that have none."""
