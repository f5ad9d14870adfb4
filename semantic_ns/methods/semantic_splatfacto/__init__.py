"""The method `semantic-splatfacto`: Gaussians of one scene, with classes in closed form."""
