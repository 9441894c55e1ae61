"""What a warm start takes over: the trials of earlier tuning jobs, in terms of the new job's hyperparameters."""

from collections.abc import Sequence
from dataclasses import replace

from kennel.local.tuning_requests import Definition, definitions_of
from kennel.local.tuning_trials import Trial
from kennel.local.validation import Json


def parents_trials(parent: Json, trials: Sequence[Trial], heirs: Sequence[Definition]) -> list[Trial]:
    """The trials of a parent that have an objective, each with the values that its heir's ranges are about.

    parent: its request. A hyperparameter that was static there and is tunable now has the static value. What the
    parent itself took over is left out, as on AWS. With several definitions, one inherits from that of its own name.
    """
    statics = {each.name: each.static for each in definitions_of(parent)}
    found = []
    for trial in trials:
        heir = heirs[0] if len(heirs) == 1 else next((each for each in heirs if each.name == trial.definition), None)
        if heir is None or trial.is_parents or trial.objective_status != "Succeeded":
            continue
        known = {**statics.get(trial.definition, {}), **trial.parameters}
        parameters = {each.name: known[each.name] for each in heir.ranges if each.name in known}
        found.append(
            replace(trial, parameters=parameters, is_parents=True, definition=heir.name, in_study=-1, history=())
        )
    return found
