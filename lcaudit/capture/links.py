"""Where every layer's output goes: what a fix must know before it may touch two layers at once.

Only what one recorded forward pass shows completely is told. A function that is not listed here, a sum, the
network's output, or a tensor of unknown origin ends a chain, and its readers count as unknown.
"""

from __future__ import annotations

import torch

from lcaudit.capture._as_found import as_found
from lcaudit.capture._dataflow import Dataflow, Node
from lcaudit.capture._forward import forward
from lcaudit.core.errors import UnknownArchitecture
from lcaudit.core.links import Link
from lcaudit.core.text import display_name
from lcaudit.core.types import Network, Probe

_LAYERS = ("linear", "conv1d", "conv2d", "conv3d")
_NORMALISATIONS = ("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm")
#: f(s x) = s f(x) for s > 0. The second kind only moves numbers about.
_HOMOGENEOUS = frozenset(
    {
        *("relu", "relu_", "leaky_relu", "leaky_relu_", "mean", "sum", "amax", "transpose", "permute", "movedim"),
        *(f"{kind}_pool{n}d" for kind in ("max", "avg", "adaptive_avg", "adaptive_max") for n in (1, 2, 3)),
    }
)
_MOVES = frozenset(
    {
        *("flatten", "view", "reshape", "squeeze", "unsqueeze", "contiguous", "clone", "float", "identity"),
        *("dropout", "dropout1d", "dropout2d", "dropout3d", "dropout_", "feature_dropout", "alpha_dropout"),
    }
)
#: Act on every number by itself, so that channels stay apart; not homogeneous.
_ELEMENTWISE = frozenset(
    ["gelu", "silu", "silu_", "sigmoid", "tanh", "elu", "elu_", "hardswish", "hardtanh", "relu6", "softplus", "mish"]
)
_REDUCTIONS = ("mean", "sum", "amax")
_ACROSS = ("transpose", "permute", "movedim")
#: Functions that are not worth naming.
_SILENT = _MOVES | frozenset(_ACROSS)


def links(network: Network, probe: Probe, *, device: torch.device, dtype: torch.dtype) -> tuple[Link, ...]:
    """The output of every ``nn.Linear`` or convolution whose weight is its own and acts once.

    Cost: one forward pass over two samples, whose activations are all kept.
    """
    inputs = probe.batch(0, min(2, len(probe.keys))).to(device)
    inputs = inputs.to(dtype) if inputs.is_floating_point() else inputs
    with as_found(network.module, device, dtype) as module, torch.no_grad():
        names = _names(module)
        flow = Dataflow(module, inputs)
        try:
            with flow:
                output = forward(module, inputs)
        except UnknownArchitecture:  # it was measured, but it cannot be recorded so: no fix may touch two layers
            return ()
        flow.finish(output)
        return _Reading(flow, names).links()


def _names(module: torch.nn.Module) -> dict[int, str]:
    """Paths of modules by the ids of their parameters and buffers; a shared one has none."""
    found: dict[int, set[str]] = {}
    for path, part in module.named_modules(remove_duplicate=False):
        for values in (part._parameters, part._buffers):
            for key, value in values.items():
                if value is not None:
                    found.setdefault(id(value), set()).add(f"{path} {key}")
    return {identity: next(iter(owners)) for identity, owners in found.items() if len(owners) == 1}


class _Reading:
    def __init__(self, flow: Dataflow, names: dict[int, str]) -> None:
        self.flow, self.names = flow, names
        uses: dict[int, int] = {}
        for node in flow.nodes:
            for identity in node.own:
                uses[identity] = uses.get(identity, 0) + 1
        self.once = {identity for identity, times in uses.items() if times == 1}
        self.layers = {place: name for place, node in enumerate(flow.nodes) if (name := self._layer(node))}

    def _layer(self, node: Node) -> str:
        """Path of the module that this call is the one use of, or ``""``."""
        if node.name not in _LAYERS or node.first is None:
            return ""
        owned = [self.names.get(identity, "") if identity in self.once else "" for identity in node.own]
        path, _, key = owned[0].rpartition(" ") if owned else ("", "", "")
        return path if path and key == "weight" and all(one.startswith(f"{path} ") for one in owned) else ""

    def links(self) -> tuple[Link, ...]:
        if self.flow.doubt:
            return tuple(Link(name, ends=self.flow.doubt) for name in self.layers.values())
        return tuple(self._link(place, name) for place, name in self.layers.items())

    def _link(self, place: int, name: str) -> Link:
        node, path, kind = self.flow.nodes[place], "", ""
        start = place
        if not node.escapes and len(node.readers) == 1:
            after = self.flow.nodes[node.readers[0]]
            owners = {self.names[identity].rpartition(" ")[0] for identity in after.own if identity in self.names}
            if after.name in _NORMALISATIONS and after.first == place and set(after.reads) == {place}:
                start, kind = node.readers[0], after.name
                alone = len(owners) == 1 and all(identity in self.once for identity in after.own)
                path = owners.pop() if alone else ""
        vectors = node.name != "linear" or len(node.shape) == 2
        chain = _Chain(self.flow.nodes, self.layers, node.shape[1] if len(node.shape) > 1 else 0)
        chain.follow(start)
        if kind and not path:
            chain.ends = chain.ends or "a normalisation that is shared or acts several times"
        known = not chain.ends and bool(chain.readers)
        return Link(
            layer=name,
            normalisation=path,
            normalises=kind,
            functions=tuple(dict.fromkeys(chain.functions)),
            readers=tuple(dict.fromkeys(chain.readers)) if known else (),
            homogeneous=known and not kind and chain.homogeneous,
            channelwise=known and vectors and kind in ("", "batch_norm") and chain.channelwise,
            ends=chain.ends or ("" if chain.readers else "nothing reads it"),
        )


class _Chain:
    """Everything that reads one call's output, through functions up to the next layers."""

    def __init__(self, nodes: list[Node], layers: dict[int, str], channels: int) -> None:
        self.nodes, self.layers, self.channels = nodes, layers, channels
        self.functions: list[str] = []
        self.readers: list[str] = []
        self.homogeneous = self.channelwise = True
        self.ends = ""

    def follow(self, place: int) -> None:
        node = self.nodes[place]
        if node.escapes:
            self.ends = self.ends or "it reaches the network's output"
        for reader in node.readers:
            self._step(reader, place)

    def _step(self, reader: int, place: int) -> None:
        node = self.nodes[reader]
        if reader in self.layers and node.first == place and set(node.reads) == {place}:
            self.readers.append(self.layers[reader])
            shape = node.before
            self.channelwise &= len(shape) == (2 if node.name == "linear" else int(node.name[4]) + 2)
            return
        known = node.name in _HOMOGENEOUS or node.name in _MOVES or node.name in _ELEMENTWISE
        if not known or set(node.reads) != {place} or node.own:
            self.ends = self.ends or f"it enters {display_name(node.name, 40)}"
            return
        if node.name not in _SILENT:
            self.functions.append(node.name.removesuffix("_"))
        self.homogeneous &= node.name not in _ELEMENTWISE
        self.channelwise &= self._keeps_channels(node)
        self.follow(reader)

    def _keeps_channels(self, node: Node) -> bool:
        if node.name in _ACROSS or node.before[:2] != node.shape[:2] or node.shape[1:2] != (self.channels,):
            return False
        if node.name not in _REDUCTIONS:
            return True
        axes = node.options.get("dim", node.arguments[0] if node.arguments else None)
        axes = (axes,) if isinstance(axes, int) else axes
        rank = len(node.before)
        return isinstance(axes, (tuple, list)) and all(isinstance(axis, int) and axis % rank >= 2 for axis in axes)
