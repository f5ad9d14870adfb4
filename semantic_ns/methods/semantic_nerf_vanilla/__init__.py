"""The network, the sampling and the batches of Semantic-NeRF (Zhi et al. 2021) as published."""
