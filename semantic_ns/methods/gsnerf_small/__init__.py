"""`gsnerf-small`: one model for many rooms after the idea of GSNeRF (Chou et al. 2024), made for two cores."""
