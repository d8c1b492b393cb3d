"""LoRA adapters on the projections of a backbone (Hu et al. 2021, arXiv 2106.09685), by peft."""

from torch import nn

from dnamamba.errors import UserError
from dnamamba.models import PositionModel, SequenceModel


def add_adapters(model: SequenceModel | PositionModel, rank: int, alpha: int) -> None:
    """Freeze the backbone but for adapters of this rank on each of its projections.

    Args:
        model: gets the adapters.
        rank: of each adapter.
        alpha: the output is multiplied by alpha / rank.

    Raises:
        UserError: peft is not installed, the family has no adapters, or the rank is above their widths.
    """
    projections = list(model.backbone.adapters)
    if not projections:
        raise UserError(f"task.lora_rank: the family {model.config.family} has no layers for adapters")
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise UserError('task.lora_rank needs peft: pip install "dnamamba[lora]"') from None
    modules = [
        module for name, module in model.backbone.named_modules() if name.split(".")[-1] in projections
    ]
    widest = max((max(one.weight.shape) for one in modules if isinstance(one, nn.Linear)), default=rank)
    if rank > widest:
        raise UserError(f"task.lora_rank: at most {widest}, the width of the widest projection (got {rank})")
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=projections)
    inject_adapter_in_model(config, model.backbone)


def merge_adapters(model: SequenceModel | PositionModel) -> None:
    """Add what the adapters have learnt to the projections, and take the adapters away."""
    from peft.tuners.lora import LoraLayer

    wrapped = [(name, module) for name, module in model.named_modules() if isinstance(module, LoraLayer)]
    for name, layer in wrapped:
        layer.merge()
        parent, _, own = name.rpartition(".")
        base = layer.get_base_layer()
        assert isinstance(base, nn.Module)
        setattr(model.get_submodule(parent), own, base)
