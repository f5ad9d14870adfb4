"""`viewseg`: classes and depth of views that nobody has seen (Qian et al. 2021), at its published sizes."""
