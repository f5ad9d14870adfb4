"""The registered methods `semantic-nerf` and `semantic-nerf-big`."""

from nerfstudio.cameras.camera_optimizers import CameraOptimizerConfig

from semantic_ns.methods.semantic_nerf.model import SemanticNerfModelConfig
from semantic_ns.methods.specification import IS_CUDA, NERF_LEARNING_RATES, hash_grid_method

_SHORT_RUN_GRID_RATE = 8e-2
"""Of the tables of a run of few steps: eight times the usual rate finds the surface in half the steps."""

semantic_nerf = hash_grid_method(
    "semantic-nerf",
    "Posed images and label images to a 3D-consistent semantic scene; trains on a CPU in minutes.",
    SemanticNerfModelConfig(
        num_levels=10,
        max_res=1024,
        log2_hashmap_size=18,
        semantic_levels=7,
        semantic_max_res=1024,
        num_proposal_iterations=1,
        num_proposal_samples_per_ray=(32,),
        num_nerf_samples_per_ray=16,
        proposal_net_args_list=[{"hidden_dim": 16, "log2_hashmap_size": 16, "num_levels": 5, "max_res": 128}],
        proposal_warmup=500,
        proposal_weights_anneal_max_num_iters=300,
        use_appearance_embedding=False,
        geometry_fraction=0.15,
        camera_optimizer=CameraOptimizerConfig(mode="off"),
        eval_num_rays_per_chunk=1 << 14,
    ),
    num_iterations=1000 if IS_CUDA else 2000,
    rays_per_batch=16_384 if IS_CUDA else 2048,
    learning_rates={**NERF_LEARNING_RATES, "grids": _SHORT_RUN_GRID_RATE},
)
semantic_nerf_big = hash_grid_method(
    "semantic-nerf-big",
    "semantic-nerf with nerfacto's sizes; for a CUDA device.",
    SemanticNerfModelConfig(camera_optimizer=CameraOptimizerConfig(mode="off"), eval_num_rays_per_chunk=1 << 15),
    num_iterations=30_000,
    rays_per_batch=4096,
    learning_rates=NERF_LEARNING_RATES,
)
