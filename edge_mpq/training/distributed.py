"""One model trained by several processes: GPUs of one machine, or of many.

Every process holds the whole model and takes its part of every batch; gradients are
averaged (data parallel).  lightning-fabric finds the processes that ``torchrun`` started
and joins them: NCCL between GPUs, gloo between CPUs.

Batch normalization sees a process's own part of a batch.  Between GPUs it is synchronized
while the model trains (SyncBatchNorm), so that the result is that of one process; on CPUs
torch has no such thing, and the running statistics are those of the first process.
"""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import nn

from edge_mpq.training.generators import States
from edge_mpq.training.log import Tally

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def join(device: str = "cpu") -> "Fabric | None":
    """Join the processes that ``torchrun`` started, each on its device; None when this process is alone.

    device: ``cpu`` or ``cuda``, the same in every process.
    """
    if not torch.distributed.is_torchelastic_launched():
        return None
    import atexit
    import logging
    import os

    from lightning_fabric import Fabric

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # importing it sets another
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    machines = int(os.environ["WORLD_SIZE"]) // here
    fabric = Fabric(accelerator=torch.device(device).type, strategy="ddp", devices=here, num_nodes=machines)
    fabric.launch()
    # Gloo's threads, still there when the interpreter is taken down, may abort the process.
    atexit.register(_leave)
    return fabric


def _leave() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


class Processes:
    """The processes that train one model; a single one where there is no fabric.

    rank: which of them this is.  count: how many there are.  leads: whether this one writes and prints.
    """

    def __init__(self, fabric: "Fabric | None" = None) -> None:
        self.fabric = fabric
        self.rank = 0 if fabric is None else fabric.global_rank
        self.count = 1 if fabric is None else fabric.world_size
        self.leads = self.rank == 0

    def wrapped(self, model: nn.Module) -> nn.Module:
        """What to call in place of ``model``, so that gradients are averaged."""
        return model if self.fabric is None else self.fabric.setup_module(model, move_to_device=False)

    def wait(self) -> None:
        """Go on when every process is here."""
        if self.fabric is not None:
            self.fabric.barrier()

    def share(self, inputs: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, float]:
        """This process's pictures of a batch, and the weight of their mean loss in the mean over processes.

        A process that a short batch leaves nothing takes the first picture at weight 0: all
        of them must run every step, for they wait for each other's gradients.
        """
        if self.count == 1:
            return inputs, labels, 1.0
        mine = slice(self.rank, None, self.count) if self.rank < len(inputs) else slice(0, 1)
        mean_share = len(inputs) / self.count
        weight = len(inputs[mine]) / mean_share if self.rank < len(inputs) else 0.0
        return inputs[mine], labels[mine], weight

    def backward(self, loss: torch.Tensor) -> None:
        """Gradients of ``loss``, averaged over processes."""
        if self.fabric is None:
            loss.backward()
        else:
            self.fabric.backward(loss)

    def total(self, tally: Tally) -> Tally:
        """The tally of all processes together."""
        if self.fabric is None:
            return tally
        sums = torch.tensor([tally.loss, tally.right, tally.labels, tally.pictures], dtype=torch.float64)
        sums = sums.to(self.fabric.device)
        self.fabric.all_reduce(sums, reduce_op="sum")  # in place
        loss, right, labels, pictures = sums.tolist()
        return Tally(loss, right, labels, pictures, tally.overflows, tally.seconds)

    def gathered(self, states: States) -> States:
        """The generators of all processes: every tensor gets a first axis, one row a process."""
        if self.fabric is None:
            return {name: state[None] for name, state in states.items()}
        return {name: self._rows(state.to(self.fabric.device)).cpu() for name, state in states.items()}

    def _rows(self, state: torch.Tensor) -> torch.Tensor:
        rows = [torch.empty_like(state) for _ in range(self.count)]
        torch.distributed.all_gather(rows, state)  # fabric's own warns of what it calls
        return torch.stack(rows)

    def own(self, states: States) -> States:
        """This process's rows of what :meth:`gathered` gave."""
        return {name: state[self.rank] for name, state in states.items()}


@contextlib.contextmanager
def synchronized(model: nn.Module, device: torch.device, processes: Processes) -> Iterator[None]:
    """Batch normalizations of ``model``, on its device, share their statistics between GPUs inside."""
    if processes.count == 1 or device.type != "cuda":
        yield
        return
    own = _norms(model)
    nn.SyncBatchNorm.convert_sync_batchnorm(model)
    try:
        yield
    finally:
        # Parameters and running statistics are shared with the stand-ins, so nothing is copied back.
        for name, module in own.items():
            model.set_submodule(name, module.train(model.training))


def _norms(model: nn.Module) -> dict[str, nn.Module]:
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    return {name: module for name, module in model.named_modules() if name and isinstance(module, kinds)}
