"""Quantization after training, then training on its grids: a plan is chosen, and the weights learn to live with it.

Briley and Afghah combine quantization-aware training, automatic mixed precision and quantization
after training.  A reconstruction: of the paper only the abstract could be read.  Here quantization
after training chooses the plan, the grids and the weights that training starts from; a few epochs
under that plan move weights and steps, held to the float model's answers by distillation; and on a
GPU matrix work runs in half precision, whose eleven bits hold codes of eight, as bf16's do not.
"""

import torch

from edge_mpq import graph as ir
from edge_mpq.drop import check
from edge_mpq.errors import PlanError, UsageError
from edge_mpq.progress import Progress, silent
from edge_mpq.quantizing import quantize
from edge_mpq.recipes import Outcome, Task
from edge_mpq.recipes._planned import planned
from edge_mpq.training import qat

PAPER = (
    "Briley and Afghah, Hardware Acceleration for Real-Time Wildfire Detection Onboard Drone Networks, "
    "2024, arXiv 2401.08105"
)
# Small steps: the weights are those of a trained model already.
EPOCHS, LEARNING_RATE, DISTILLATION = 8, 2e-4, 0.9


def run(
    task: Task,
    progress: Progress = silent,
    epochs: int = EPOCHS,
    learning_rate: float = LEARNING_RATE,
    distillation: float = DISTILLATION,
) -> Outcome:
    """The recipe; see the family's contract.  distillation: the weight of the float model's answers against labels.

    Raises PlanError for a task without labelled pictures to train on, or whose drop the trained model does
    not keep, UsageError for a weight that is no share.
    """
    if not 0 <= distillation <= 1:
        raise UsageError(f"a distillation of {distillation} is no share", "give one from 0 to 1")
    if task.training is None:
        raise PlanError("the wildfire recipe trains, and there is no labelled picture", "give training pictures")
    graph, ranges, made, trials = planned(task, progress)
    rounded, _ = quantize(graph, made, task.calibration, ranges=ranges, progress=progress)
    start, state = ir.copied(graph), rounded.state_dict()
    start.load_state_dict({name: state[name] for name in start.state_dict()})
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.seed)
        learned = qat.fit(
            start,
            task.example,
            made,
            ranges,
            task.training,
            epochs,
            learning_rate,
            device,
            progress,
            teacher=task.graph,
            distillation=distillation,
            precision="fp16" if device == "cuda" else "fp32",
        )
    check(learned.model, task.graph, task.budget, task.validation)
    return Outcome(made, learned.graph, learned.model, learned.ranges, trials)
