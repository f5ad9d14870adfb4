"""`viewseg-small`: one model for many rooms after the idea of ViewSeg (Qian et al. 2021), made for two cores."""
