"""Many scenes at once, for methods that learn from all of them: their folders, label space, views and pairs."""
