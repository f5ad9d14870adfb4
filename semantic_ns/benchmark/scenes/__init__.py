"""The scoreboard: all scenes and seeds with a method's defaults, and the worst of them."""
