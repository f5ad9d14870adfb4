"""The registered method `semantic-ngp`."""

from semantic_ns.methods.semantic_ngp.model import SemanticNgpModelConfig
from semantic_ns.methods.specification import hash_grid_method

semantic_ngp = hash_grid_method(
    "semantic-ngp",
    "semantic-nerf with an occupancy grid in place of the proposal network.",
    SemanticNgpModelConfig(
        num_levels=10,
        max_res=1024,
        log2_hashmap_size=16,
        grid_resolution=64,
        grid_levels=3,
        grid_decay=0.7,
        grid_threshold=0.05,
        max_samples_per_ray=16,
        average_init_density=0.1,
        render_step_size=0.01,
        eval_num_rays_per_chunk=1 << 12,
    ),
    num_iterations=3000,
    rays_per_batch=2048,
    learning_rates={"fields": 1e-2, "grids": 1e-2},
)
