"""A genome as the command that trains it again, or, where no command can, as JSON."""

from __future__ import annotations

import json
import shlex

from evo.individual import Genome
from evo.models import MODELS
from evo.names import GIVEN, is_reference
from evo.record.commands import train_options
from evo.record.run import Run
from evo.space.chosen import unread_by
from evo.space.training_settings import ALWAYS_SHOWN, TrainingSettings
from evo.space.typed import option_words


def genome_text(run: Run, config: Genome) -> str:
    """Return the `evo train` command of a configuration, or its JSON where the run trained no network by evo.

    What its training does not read is left out: a switch that others depend on, a momentum that is fixed beside adam.

    Args:
        run: The run that it is from: its model, data and fixed settings.
        config: Gene values by name.
    """
    training, model = run.space.training, MODELS.get(run.settings.model or "")
    fixed, usual, read = training.model_dump(exclude_none=True), TrainingSettings().model_dump(), training.read(config)
    only_of_model = model is None and read != config  # `evo train` would give it to the training, too
    if run.settings.model is None or only_of_model or fixed["image_size"] != usual["image_size"]:  # it has no option
        return json.dumps(config)
    known = usual.keys() | (config if model is None else model.genes)
    setting = {name: value for name, value in fixed.items() if name in ALWAYS_SHOWN or value != usual[name]}
    setting |= {name: value for name, value in read.items() if name in known}
    idle = unread_by(run.settings.model, training, config)
    words = ["evo", "train", "--model", run.settings.model]
    for name, value in setting.items():
        words += option_words(name, value) if name not in idle else []
    dataset = (run.settings.dataset or {}).get("name")
    words += ["--dataset", str(dataset)] if dataset and dataset != GIVEN and not is_reference(dataset) else []
    return shlex.join([*words, *train_options(run.settings)])
