"""Where along a ray the field is evaluated."""
