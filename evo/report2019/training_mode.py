"""The measurement of the 2019 report, taken at the points of a learning curve without leaving training mode."""

from __future__ import annotations

from evo.training.progress import Training

WHOLE_TRAIN_POINTS = 5
"""Last points of a learning curve at which the whole training part is measured, too."""
BATCHES_SEED = 2019
"""Of the order in which `training_mode = "batches"` takes the held-out images."""


def as_reported(training: Training) -> dict[str, float]:
    """Measure a network as the report did; the training continues as if it had not been measured.

    Dropout draws from a generator of its own, and the running statistics of batch norm are put back.

    Returns:
        The accuracy and the loss of the last minibatch, and those of the held-out part; at the last points also the
        accuracy on the whole training part in evaluation mode.
    """
    bench, state = training.bench, training.state
    loss, right = training.last.tolist()
    with bench.own_randomness(training.job.seed + state.step):
        buffers = [(buffer, buffer.clone()) for buffer in state.model.buffers()]
        part, chunk = bench.held_out_part, len(bench.held_out_part)
        if bench.settings.training_mode == "batches":
            part, chunk = part.mixed(BATCHES_SEED), training.recipe.batch_size
            while len(part) % chunk == 1 and chunk < len(part):
                chunk += 1  # batch norm can do nothing with a batch of one image
        held_out = bench.measure(state.model, part, training_mode=True, chunk=chunk)
        for buffer, before in buffers:
            buffer.copy_(before)
    measured = {
        "minibatch_accuracy": right / training.recipe.batch_size,
        "minibatch_loss": loss,
        "training_mode_accuracy": held_out.accuracy,
        "training_mode_loss": held_out.loss,
    }
    every = training.recipe.every
    points_left = -(-training.recipe.steps // every) - -(-state.step // every)
    if points_left < WHOLE_TRAIN_POINTS:
        measured["whole_train_accuracy"] = bench.measure(state.model, bench.train_part).accuracy
    return measured
