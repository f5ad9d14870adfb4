"""Training on a CPU: in what learning rates are counted, and Gaussians that are split in two."""

from typing import TYPE_CHECKING

import torch
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.engine.optimizers import Optimizers
from torch.nn import Parameter

from semantic_ns.io.console import announce
from semantic_ns.methods.semantic_splatfacto.optimizer import count_rates_in
from semantic_ns.run_clock import schedule_step_of
from semantic_ns.splatting.fit_config import ADAM_BETAS, FitConfig

if TYPE_CHECKING:
    from semantic_ns.methods.semantic_splatfacto.model import SemanticSplatfactoModel

SPLITS_BY_DEFAULT = 7
"""Of Gaussians that begin few: at sparse points, or at depth by stereo."""
MOST_GAUSSIANS = 200_000
"""Number up to which Gaussians are split: about that of a room with depth images."""
_SHARE = 0.5
"""Share of the Gaussians that are split at a time."""
_ENOUGH_STEPS = FitConfig.steps
"""Of a room: Gaussians that begin few are far from sharp after fewer."""
_FIRST, _LAST = 1 / 8, 23 / 40
"""Shares of the run after which Gaussians are split first and last: moved first, and time to settle afterwards."""


def callbacks_on_cpu(
    model: "SemanticSplatfactoModel", attributes: TrainingCallbackAttributes
) -> list[TrainingCallback]:
    """What nerfstudio's trainer is to call while Gaussians train on a CPU."""
    before, after = TrainingCallbackLocation.BEFORE_TRAIN_ITERATION, TrainingCallbackLocation.AFTER_TRAIN_ITERATION

    def remember(step: int) -> None:
        model.step = step

    callbacks = [TrainingCallback([before], remember, update_every_num_iters=1)]
    if attributes.optimizers is None:
        return callbacks
    optimizers = attributes.optimizers
    count_rates_in(model._unit_of_rate, optimizers.optimizers)
    num_splits = number_of_splits(model)
    if num_splits and attributes.trainer is not None:
        num_steps = attributes.trainer.config.max_num_iterations
        pending, at = sorted(steps_of_splits(num_splits, num_steps)), schedule_step_of(attributes.trainer)
        is_first = True
        if num_steps < _ENOUGH_STEPS and model.config.num_splits is None:
            announce(
                "start",
                f"Gaussians, of which there are few at first, are split as they train; --max-num-iterations "
                f"{_ENOUGH_STEPS} makes them much sharper than {num_steps}",
            )

        def split(step: int) -> None:
            nonlocal is_first
            passed = at(step) + 1
            while is_first and pending and pending[0] < passed:  # in the run that this one goes on with
                pending.pop(0)
            is_first = False
            if pending and pending[0] <= passed:
                pending.pop(0)
                split_gaussians(model, optimizers)
                if not pending:
                    model.paint_classes()

        callbacks.append(TrainingCallback([after], split, update_every_num_iters=1))
    return callbacks


def number_of_splits(model: "SemanticSplatfactoModel") -> int:
    """How often the Gaussians of a model are split on a CPU while they train, by its options and where they begin."""
    config, views = model.config, model._training_views
    if not config.train_gaussians or views is None:
        return 0
    if config.num_splits is not None:
        return config.num_splits
    begins_with_few = config.start_from is None and (views.depths is None or views.are_by_stereo)
    return SPLITS_BY_DEFAULT if begins_with_few else 0


def steps_of_splits(num_splits: int, num_steps: int) -> frozenset[int]:
    """Numbers of steps that are trained before each split, evenly spread."""
    between = (_LAST - _FIRST) / max(num_splits - 1, 1)
    return frozenset(max(1, round(num_steps * (_FIRST + between * number))) for number in range(num_splits))


@torch.no_grad()
def split_gaussians(model: "SemanticSplatfactoModel", optimizers: Optimizers) -> int:
    """Split up to half of the Gaussians in two; their halves begin without moments.

    Args:
        model: the model, some steps of which have been trained.
        optimizers: nerfstudio's, with the `SparseAdam` of each of its parameters.

    Returns:
        How many were split.
    """
    from semantic_ns.splatting.splitting import halves, most_wanted, with_halves

    parameters = dict(model.gauss_params.items())
    state = optimizers.optimizers["means"].state[parameters["means"]]
    count = min(int(_SHARE * model.num_points), MOST_GAUSSIANS - model.num_points)
    if count <= 0 or not state:
        return 0
    rows = most_wanted(state["exp_avg_sq"], state["turns"], parameters["scales"].data, ADAM_BETAS[1], count)
    first, second, scales = halves(*(parameters[name].data[rows] for name in ("means", "quats", "scales")))
    for name, parameter in parameters.items():
        values = parameter.data.clone()
        if name in {"means", "scales"}:
            values[rows] = first if name == "means" else scales
        values = with_halves(values, rows, second if name == "means" else values[rows])
        # A parameter that gets other data keeps the shape of before in the graph of the last loss.
        model.gauss_params[name] = replaced = Parameter(values)
        _take_over(optimizers, name, parameter, replaced, rows)
    classes = model.class_probabilities
    model.class_probabilities = with_halves(classes, rows, classes[rows])
    model.painted.split(rows)
    model.first_colors.split(rows)
    return len(rows)


def _take_over(optimizers: Optimizers, name: str, before: Parameter, after: Parameter, rows: torch.Tensor) -> None:
    """Have the optimiser of a name train another parameter, with the moments of the one before but those of `rows`."""
    from semantic_ns.splatting.splitting import with_halves

    optimizer = optimizers.optimizers[name]
    (group,) = optimizer.param_groups
    group["params"], optimizers.parameters[name] = [after], [after]
    state = optimizer.state.pop(before, {})
    for kind, values in state.items():
        values[rows] = 0
        state[kind] = with_halves(values, rows, values.new_zeros(()))
    optimizer.state[after] = state
