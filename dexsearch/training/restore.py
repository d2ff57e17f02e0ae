"""Between the networks of a run and the tensors of a checkpoint."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dexsearch.training.checkpoint import Checkpoint
from dexsearch.training.networks import Networks


def tensors_of(networks: Networks) -> dict[str, dict[str, Tensor]]:
    """Return every tensor that continuing needs, by the file that holds it."""
    parts = {
        "generator": _cpu(networks.generator.state_dict()),
        "ema": _cpu(networks.average.network.state_dict()),
        "optimizers": _optimizer_tensors("generator", networks.generator_adam),
    }
    if networks.adversary is not None:
        parts["discriminator"] = _cpu(networks.adversary.discriminator.state_dict())
        parts["optimizers"] |= _optimizer_tensors("discriminator", networks.adversary.adam)
    return parts


def restore_networks(networks: Networks, checkpoint: Checkpoint) -> None:
    """Continue from a checkpoint of the same configuration, bit for bit."""
    networks.step = checkpoint.state.step
    moments = checkpoint.tensors("optimizers")
    _load(networks.generator, checkpoint.tensors("generator"))
    _load(networks.average.network, checkpoint.tensors("ema"))
    _restore_optimizer("generator", networks.generator_adam, moments)
    if networks.adversary is not None:
        _load(networks.adversary.discriminator, checkpoint.tensors("discriminator"))
        _restore_optimizer("discriminator", networks.adversary.adam, moments)


def _cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu() for name, tensor in tensors.items()}


def _load(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy into the existing tensors, which keep their device and memory format."""
    network.load_state_dict(dict(tensors), strict=True)


def _optimizer_tensors(prefix: str, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Name the moments and step counts by the position of their parameter."""
    state = optimizer.state_dict()["state"]
    return {
        f"{prefix}.{index}.{name}": value.detach().cpu()
        for index, values in state.items()
        for name, value in values.items()
    }


def _restore_optimizer(
    prefix: str, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]
) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for name, value in tensors.items():
        owner, index, moment = name.split(".")
        if owner != prefix:
            continue
        parameter = parameters[int(index)]
        if moment == "step":
            optimizer.state[parameter][moment] = value.to(parameter.device)
        else:
            like = torch.empty_like(parameter, memory_format=torch.preserve_format)
            optimizer.state[parameter][moment] = like.detach().copy_(value)
