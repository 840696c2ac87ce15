"""What recipes are given of a piece of work: calibration, validation and training pictures that do not overlap."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import fx

from apps.data.batches import batches, sample
from apps.data.calibration import labelled
from apps.work import Work
from edge_mpq import budget as budgets
from edge_mpq.errors import UsageError
from edge_mpq.layers import layers_of
from edge_mpq.menu import menu_of
from edge_mpq.recipes import Task
from edge_mpq.records.target import Target
from edge_mpq.simulation import prepared

# Labelled training pictures that recipes may train on, and those they may try plans on.
TRAINING, VALIDATION, BATCH = 8192, 512, 64


def task_of(work: Work, budget: str | None, formats: Sequence[str] | None, seed: int) -> Task:
    """The task of ``work`` within ``budget``, or the usual one; ``seed`` draws what is tried on and trained on.

    Raises UsageError where calibration takes all training pictures.
    """
    graph = prepared(work.model, work.example)
    train, taken = work.data.train, set(work.calibration.chosen)
    free = [i for i in sample(train, len(train), seed=1 + seed) if i not in taken]
    if len(free) < 2:
        raise UsageError(f"--calibration {len(taken)} takes all training pictures", "leave some to try plans on")
    held = min(VALIDATION, len(free) // 2)
    validation = labelled(train, work.recipe, free[:held], max(1, min(BATCH, held // 2)))
    learned = free[held : held + TRAINING]

    def training(epoch: int):
        order = np.random.default_rng((seed, epoch)).permutation(learned).tolist()
        for values, labels in batches(train, work.recipe, BATCH, order):
            yield torch.from_numpy(values), torch.from_numpy(labels)

    return Task(
        graph=graph,
        example=work.example,
        calibration=list(work.calibration),
        validation=validation,
        training=training,
        target=work.target,
        budget=budget or usual_budget(graph, work.target, formats),
        formats=formats,
        seed=seed,
    )


def usual_budget(graph: fx.GraphModule, target: Target, formats: Sequence[str] | None) -> str:
    """The budget where none is given: what 8-bit weights come to."""
    layers = layers_of(graph)
    return str(budgets.usual(layers, menu_of(layers, target, formats)))
