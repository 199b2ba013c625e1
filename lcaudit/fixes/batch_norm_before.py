"""Put a BatchNorm in front of ill-conditioned layers, and fold it into their weights.

With γ = 1, β = 0 and the input's own mean μ and standard deviation σ, a layer W x + b behind the
normalisation computes the same function as before once W′ = W·diag(σ) and b′ = b + W μ. Zeros that a convolution
puts around its input are put there before the normalisation, so that the borders stay the same too.
"""

from __future__ import annotations

from lcaudit.core.measurements import Measurements
from lcaudit.core.outcomes import Finding, Fix
from lcaudit.core.recipe import Step
from lcaudit.core.text import count
from lcaudit.fixes._base import (
    BORDERS,
    Plan,
    Remedy,
    Study,
    briefly,
    effects_of,
    foldable,
    gaining,
    insertable,
    named,
    pad_with_zeros,
    paths_in_code,
    price,
)

CODE = '''\
import torch
from torch import nn


@torch.no_grad()
def batch_norm_before(model: nn.Module, names: list[str], batches) -> None:
    """Put a batch norm before each named layer, folded so that the outputs stay the same.

    batches: input tensors as the model takes them, at least a few hundred samples in all.
    """
    norms = {nn.Linear: nn.BatchNorm1d, nn.Conv1d: nn.BatchNorm1d, nn.Conv2d: nn.BatchNorm2d, nn.Conv3d: nn.BatchNorm3d}
    pads = {nn.Conv1d: nn.ZeroPad1d, nn.Conv2d: nn.ZeroPad2d, nn.Conv3d: nn.ZeroPad3d}
    sums, hooks = {}, []

    def around(layer):  # zeros go before the norm, so that borders keep their outputs
        zeros = type(layer) in pads and layer.padding_mode == "zeros"
        return tuple(layer._reversed_padding_repeated_twice) if zeros else ()

    def record(name):
        def hook(module, inputs):
            x = nn.functional.pad(inputs[0], around(module)) if any(around(module)) else inputs[0]
            x = x.double().transpose(0, 1).flatten(1)  # one row per channel
            total = torch.stack([x.sum(1), x.square().sum(1), torch.full_like(x[:, 0], x.shape[1])])
            sums[name] = sums.get(name, 0) + total

        return hook

    model.eval()  # the statistics that the network is used with
    try:
        hooks += [model.get_submodule(name).register_forward_pre_hook(record(name)) for name in names]
        for batch in batches:
            model(batch)
    finally:
        for hook in hooks:
            hook.remove()
    for name in names:
        layer = model.get_submodule(name)
        mean = sums[name][0] / sums[name][2]
        variance = (sums[name][1] / sums[name][2] - mean.square()).clamp(min=0)
        norm = norms[type(layer)](len(mean), device=layer.weight.device, dtype=layer.weight.dtype).eval()
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        groups = getattr(layer, "groups", 1)
        sigma = (norm.running_var.double() + norm.eps).sqrt().view(groups, -1)
        centre = norm.running_mean.double().view(groups, -1)
        outputs, inputs = layer.weight.shape[:2]
        taps = layer.weight.double().reshape(groups, outputs // groups, inputs, -1)
        offset = (taps.sum(3) * centre.unsqueeze(1)).sum(2).flatten()
        layer.weight.copy_((taps * sigma[:, None, :, None]).reshape(layer.weight.shape))
        if layer.bias is None:
            layer.bias = nn.Parameter(torch.zeros(len(offset), device=offset.device, dtype=layer.weight.dtype))
        layer.bias.copy_(layer.bias.double() + offset)
        parts = [norm, layer]
        if any(around(layer)):
            parts.insert(0, pads[type(layer)](around(layer)))
            layer.padding = (0,) * len(layer.kernel_size)
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, nn.Sequential(*parts))


batch_norm_before(model, {names}, batches)
'''


def propose(finding: Finding, measurements: Measurements) -> Fix | None:
    """Safe: with the padding before the norm, the outputs stay the same at the borders too."""
    layers = gaining("batch_norm", finding, measurements)
    if not layers:
        return None
    padded = [spectra for spectra in layers if not foldable(spectra.layer)]
    tokens = any(spectra.layer.kind == "linear" and spectra.layer.positions > 1 for spectra in layers)
    code = "" if tokens else paths_in_code(layers)
    how = [
        f"Insert a BatchNorm (γ = 1, β = 0, running statistics from the probe) directly before {named(layers)}, on "
        "that branch only, and fold it: W′ = W·diag(σ), b′ = b + W μ."
    ]
    if padded:
        how.append(f"{pad_with_zeros(padded, layers)}: {BORDERS}")
    how.append(
        "In eval mode the outputs stay the same to rounding (1e-6 of their scale in float32). In training mode "
        "the batch's own statistics are used, as in any batch norm."
    )
    if tokens:
        how.append("These layers read several positions per sample: normalise over features, with positions flattened.")
    how.append("State-dict keys gain one level (name.0 the norm, name.1 the layer); optimiser state must be made anew.")
    return Fix(
        id="batch-norm-before",
        title=f"Put BatchNorm before {briefly(layers)}",
        applicability="safe",
        layers=tuple(spectra.layer.name for spectra in layers),
        effects=effects_of("batch_norm", layers),
        how=" ".join(how),
        code=CODE.replace("{names}", code) if code else "",
        cost=(
            "Two parameters and two statistics per input channel; one multiplication and addition per input, which can "
            "be folded away again for use; no retraining."
        ),
        price=price(layers, parameters=2, operations=2),
    )


def plan(fix: Fix, study: Study) -> Plan:
    """A step for every plain layer that reads vectors or channels."""
    kinds = {spectra.layer.name: spectra.layer for spectra in study.measurements.layers}
    left_out, padding = {}, {}
    for name in fix.layers:
        tokens = kinds[name].kind == "linear" and kinds[name].positions > 1
        reason = insertable(name, study) or ("it reads several positions per sample" if tokens else "")
        if reason:
            left_out[name] = reason
        else:
            padding[name] = study.padding(study.layer(name))
    found = study.channel_statistics(padding) if padding else {}
    steps = tuple(
        Step(
            fix.id,
            "batch_norm",
            {"layer": name},
            {
                "mean": tuple(statistics.mean.tolist()),
                "variance": tuple(statistics.variance.tolist()),
                "padded": (float(bool(padding[name])),),
                "new_bias": (float(study.layer(name).bias is None),),
            },
        )
        for name, statistics in found.items()
    )
    padded = sum(map(bool, padding.values()))
    pads = f"; {count(padded, 'convolution')} with the zero padding put before it" if padded else ""
    return Plan(steps, f"BatchNorm put before {count(len(steps), 'layer')}, folded into the weights{pads}", left_out)


FIX = Remedy("batch-norm-before", ("LC301", "LC302"), propose, plan, order=4)
