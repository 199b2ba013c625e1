"""A network from the graph of an exported program: its calls in order, on the file's own tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lcaudit.architectures import _program_calls as calls
from lcaudit.architectures import _strict
from lcaudit.architectures._program_batch import CannotFollow, followed, why_not
from lcaudit.core.errors import AuditError, LimitExceeded, MalformedInput, UnknownArchitecture, out_of_memory
from lcaudit.core.identity import Recognition
from lcaudit.core.measurements import Evidence, NetworkRecord
from lcaudit.core.program import Graph, Kind, Node, Program, Ref
from lcaudit.core.text import count, display_name
from lcaudit.core.types import Checkpoint, Network

FAMILY = "exported_program"
#: Numbers in one tensor that a call may ask for, and largest size it may compute.
_MOST_NUMBERS = 2**31
_LAYERS = ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "convolution",
           "linear", "addmm", "mm", "embedding")  # fmt: skip
#: Where the weight stands among the arguments.
_WEIGHT_AT = {"embedding": 0, "layer_norm": 2, "native_layer_norm": 2, "group_norm": 2, "native_group_norm": 1}
_DTYPES = {
    1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64, 6: torch.float16, 7: torch.float32,
    8: torch.float64, 12: torch.bool, 13: torch.bfloat16,
}  # fmt: skip
_FORMATS = {1: torch.contiguous_format, 2: torch.channels_last, 3: torch.channels_last_3d, 4: torch.preserve_format}
_WRAP = "export a wrapper whose forward takes one tensor and returns one, e.g. the logits"


def network(checkpoint: Checkpoint) -> Network:
    """The network that the program is.

    Raises:
        UnknownArchitecture: it calls what lcaudit does not run, is in training mode, takes or gives several tensors,
            or cannot take batches of other sizes than it was exported with. MalformedInput: it contradicts itself.

    Cost: where it was exported for one batch size, a few samples forward.
    """
    program, label = checkpoint.program, display_name(checkpoint.record.name, 100)
    assert program is not None, "asked for a program"
    _check(label, program.graph)
    if len(program.user) != 1:
        raise UnknownArchitecture(f"{label}: takes {len(program.user)} inputs, expected one tensor", _WRAP)
    if len(program.graph.outputs) != 1 or not isinstance(program.graph.outputs[0], Ref):
        raise UnknownArchitecture(f"{label}: gives {len(program.graph.outputs)} outputs, expected one tensor", _WRAP)
    value = program.graph.values.get(program.user[0])
    if value is None or not value.sizes or value.dtype not in _DTYPES:
        raise UnknownArchitecture(f"{label}: takes an input that is no batch of samples", _WRAP)
    _strict.check_stored(checkpoint.tensors)
    wide = any(tensor.dtype == torch.float64 for tensor in checkpoint.tensors.values())
    module = ExportedProgram(program, checkpoint.tensors, label)
    module.double() if wide else module.float()
    module.eval().requires_grad_(False)
    evidence = [_evidence(program), *_batch(module, program, label)]
    sizes = tuple(max(0, side) for side in value.sizes[1:])
    version = display_name(program.torch, 20)
    record = NetworkRecord(
        family=FAMILY,
        title=f"exported program (torch {version})" if version else "exported program",
        variant={"calls": len(program.graph.nodes), "batch": max(0, value.sizes[0])},
        confidence="declared",
        evidence=tuple(evidence),
        assumptions=(),
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        input_shape=sizes,
        classes=_classes(program, _DTYPES[value.dtype].is_floating_point),
        dtype=_strict.stored_dtype(checkpoint.tensors),
    )
    return Network(record, module, {})


def recognition(program: Program, beside: Recognition) -> Recognition:
    """What ``lcaudit identify`` says of it. ``beside``: what its names and shapes by themselves say."""
    takes = program.graph.values.get(program.user[0]) if len(program.user) == 1 else None
    evidence = [_evidence(program)]
    if beside.recognised:
        evidence.append(Evidence("fingerprint", f"its names and shapes are those of {beside.title}"))
    hint = "`lcaudit check` runs the graph, once every operator in it was found on lcaudit's list"
    sizes = tuple(max(0, side) for side in takes.sizes[1:]) if takes else ()
    title = f"exported program (torch {display_name(program.torch, 20) or 'of unknown version'})"
    return Recognition("declared", title, "", beside.classes, sizes, tuple(evidence), (), hint)


def summary(program: Program) -> str:
    """What it is, in words."""
    layers = sum(calls.name_of(node.target) in _LAYERS for node in program.graph.nodes)
    value = program.graph.values.get(program.user[0]) if len(program.user) == 1 else None
    takes = ""
    if value:
        takes = ", input " + " × ".join(str(side) if side >= 0 else "any" for side in value.sizes)
    return f"{count(len(program.graph.nodes), 'call')}, {count(layers, 'layer')}{takes}"


def _evidence(program: Program) -> Evidence:
    return Evidence("declared", f"the file holds the network's own graph: {summary(program)}; read as data, not loaded")


def _check(label: str, graph: Graph) -> None:
    for node in graph.nodes:
        calls.check(label, node.target, node.args, node.options)
        for value in node.args:
            if isinstance(value, Graph):
                _check(label, value)


def _classes(program: Program, images: bool) -> int:
    """Width of the output: the second axis, or the last one of a sequence of tokens; 0 where that is open."""
    value = program.graph.values.get(program.graph.outputs[0].name)
    sizes = value.sizes if value else ()
    if len(sizes) in (2, 4, 5):
        return max(0, sizes[1])
    return max(0, sizes[-1]) if len(sizes) == 3 and not images else 0


def _batch(module: ExportedProgram, program: Program, label: str) -> list[Evidence]:
    """Whether batches of any size can be run; says how that is known."""
    value = program.graph.values[program.user[0]]
    batch, rest = value.sizes[0], [side if side > 0 else 8 for side in value.sizes[1:]]
    if batch < 0:
        return [Evidence("batch", "exported for batches of any size")]
    if batch == 0 or math.prod(rest) * 3 * batch > _MOST_NUMBERS:
        raise MalformedInput(f"{label}: exported for batches of {batch:,} samples", "export it for a small batch")
    generator = torch.Generator().manual_seed(0)
    dtype = _DTYPES[value.dtype]
    shape = (max(3, batch + 1) if batch == 1 else 2 * batch, *rest)
    if dtype.is_floating_point:
        kind = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
        inputs = torch.rand(shape, generator=generator, dtype=torch.float64).to(kind)
    else:
        most = min((part.num_embeddings for part in module.modules() if isinstance(part, nn.Embedding)), default=2)
        inputs = torch.randint(0, max(1, most), shape, generator=generator, dtype=dtype)
    try:
        with torch.no_grad():
            reason = why_not(module, inputs, batch)
    except AuditError:
        raise
    except Exception as error:  # whatever an operator raises on arguments that do not fit it
        if out_of_memory(error):
            raise
        said = display_name(str(error).strip().split("\n")[0], 150)
        raise UnknownArchitecture(
            f"{label}: its graph fails on an input {list(inputs.shape)}: {type(error).__name__}: {said}",
            "export the model again with torch.export.save",
        ) from None
    words = f"exported for batches of exactly {batch}"
    if reason:
        raise UnknownArchitecture(
            f"{label}: {words}, and {reason}",
            "export it for any batch size: torch.export.export(model, args, dynamic_shapes=({0: "
            "torch.export.Dim('batch')},))",
        )
    return [Evidence("batch", f"{words}; other sizes give the same outputs on random samples")]


class BatchNorm(_BatchNorm):
    """Batch norm of any number of axes, with the file's own statistics."""

    def _check_input_dim(self, input: torch.Tensor) -> None:  # the operator takes any
        return


class ExportedProgram(nn.Module):
    """Runs a program's calls; its tensors lie under their own names, as the original's modules had them."""

    def __init__(self, program: Program, tensors: Mapping[str, torch.Tensor], label: str) -> None:
        super().__init__()
        self.label = label
        self.graph = program.graph
        self.given, self.user = dict(program.given), program.user[0]
        self.own: dict[str, tuple[nn.Module, str]] = {}
        #: by name of the output
        self.norms: dict[str, nn.Module] = {}
        size = program.graph.values[program.user[0]].sizes[0]
        self.batch = max(0, size)
        self._place(program, {**tensors, **program.constants})

    def _place(self, program: Program, tensors: Mapping[str, torch.Tensor]) -> None:
        kinds = _modules(program, tensors)
        kept: dict[tuple[Any, ...], nn.Parameter] = {}
        for name, key in program.own.items():
            owner, last = self._owner(key, kinds), key.rpartition(".")[2]
            value = tensors[key]
            if key in program.parameters and value.is_floating_point():
                place = (value.untyped_storage().data_ptr(), value.storage_offset(), value.shape, value.stride())
                parameter = kept.setdefault(place, nn.Parameter(value.detach().contiguous(), requires_grad=False))
                owner._parameters[last] = parameter  # tied weights are one parameter, as they were
            else:
                owner._buffers[last] = value.detach().contiguous()
            self.own[name] = (owner, last)
        for node in program.graph.nodes:
            path = _norm_path(node, program)
            if path and node.outputs:
                self.norms[node.outputs[0]] = self._owner(f"{path}.weight", kinds)

    def _owner(self, key: str, kinds: Mapping[str, nn.Module]) -> nn.Module:
        """The module that a key's tensor belongs to, made on the way."""
        parts = key.split(".")[:-1]
        if not all(parts) or len(parts) > 64 or not key.rpartition(".")[2]:
            raise MalformedInput(f"{self.label}: a tensor with an impossible name: {display_name(key, 80)!r}")
        owner: nn.Module = self
        for depth, part in enumerate(parts, 1):
            path = ".".join(parts[:depth])
            # straight into the table: a name such as "forward" must not hide a method
            child = owner._modules.setdefault(part, kinds.get(path) or nn.Module())
            assert child is not None, "the table begins empty"
            owner = child
        return owner

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """[b, …] → the program's output."""
        state = {name: _tensor(owner, key) for name, (owner, key) in self.own.items()}
        run = _Run(self, inputs, {tensor.untyped_storage().data_ptr() for tensor in state.values()})
        state |= self.given
        state[self.user] = inputs
        (output,) = run.graph(self.graph, state)
        return output


class _Run:
    """One run over one batch."""

    def __init__(self, program: ExportedProgram, inputs: torch.Tensor, own: set[int]) -> None:
        self.program, self.own = program, own
        self.device, self.samples = inputs.device, len(inputs)
        floats = (p.dtype for p in program.parameters() if p.is_floating_point())
        self.dtype = inputs.dtype if inputs.is_floating_point() else next(floats, torch.float32)
        self.follows = bool(program.batch) and self.samples != program.batch

    def graph(self, graph: Graph, state: dict[str, Any]) -> list[Any]:
        for node in graph.nodes:
            given = [node.args, tuple(node.options.values())]
            args, values = ([self._value(one, state) for one in part] for part in given)
            options = dict(zip(node.options, values, strict=True))
            result = self._call(graph, node, args, options, state)
            found = list(result) if isinstance(result, (tuple, list)) else [result]
            if len(found) < len(node.outputs):
                raise MalformedInput(f"{self.program.label}: {display_name(node.target, 80)} gives fewer outputs")
            state.update((name, one) for name, one in zip(node.outputs, found, strict=False) if name)
        return [self._value(one, state) for one in graph.outputs]

    def _value(self, value: Any, state: Mapping[str, Any]) -> Any:
        if isinstance(value, Ref):
            if value.name not in state:
                raise MalformedInput(f"{self.program.label}: its graph reads {display_name(value.name, 60)} too early")
            return state[value.name]
        if isinstance(value, tuple):
            return [self._value(one, state) for one in value]
        if isinstance(value, Kind):
            return self._kind(value)
        return value

    def _kind(self, kind: Kind) -> Any:
        if kind.what == "device":
            return self.device
        if kind.what == "memory format":
            return _FORMATS.get(kind.number, torch.preserve_format)
        if kind.what == "layout":
            return torch.strided
        found = _DTYPES.get(kind.number)
        if found is None:
            raise UnknownArchitecture(f"{self.program.label}: its graph converts to a type that lcaudit does not run")
        return self.dtype if found.is_floating_point else found  # the audit chooses the precision

    def _call(self, graph: Graph, node: Node, args: list[Any], options: dict[str, Any], state: dict[str, Any]) -> Any:
        if node.target in calls.WRAPPERS:
            return self._wrapped(node, args)
        python = calls.python_of(node.target)
        if python:
            if node.target != "_operator.getitem" and not all(isinstance(one, (int, float)) for one in args):
                raise MalformedInput(f"{self.program.label}: {display_name(node.target, 80)} of what is no number")
            return self._sized(python(*args))
        name = calls.name_of(node.target)
        if calls.writes(node.target) and self._is_own(args[0]):
            raise UnknownArchitecture(
                f"{self.program.label}: {display_name(node.target, 80)} changes the program's own weights",
                "call model.eval() before torch.export.export, and export again",
            )
        norm = self.program.norms.get(node.outputs[0]) if node.outputs else None
        if norm is not None:
            output = norm(args[0])
            return (output, output.new_empty(0), output.new_empty(0)) if name != "batch_norm" else output
        if self.follows:
            try:
                args = followed(name, args, _recorded(graph, node), self.program.batch, self.samples)
            except (CannotFollow, ZeroDivisionError, IndexError):
                raise CannotFollow(node.target) from None
        self._bound(node, [*args, *options.values()])
        return calls.function_of(node.target)(*args, **options)

    def _wrapped(self, node: Node, args: list[Any]) -> Any:
        """A part that runs without gradients, or in another precision; the audit chooses its own precision."""
        place = calls.WRAPPERS[node.target]
        inner = node.args[place] if len(node.args) > place else None
        if not isinstance(inner, Graph) or len(inner.inputs) != len(args) - place - 1:
            raise MalformedInput(f"{self.program.label}: {display_name(node.target, 80)} without its graph")
        record = torch.is_grad_enabled() and (place == 4 or bool(args[0]))
        with torch.set_grad_enabled(record):
            return self.graph(inner, dict(zip(inner.inputs, args[place + 1 :], strict=True)))

    def _sized(self, result: Any) -> Any:
        if isinstance(result, int) and abs(result) > _MOST_NUMBERS:
            raise LimitExceeded(f"{self.program.label}: its graph computes a size beyond {_MOST_NUMBERS:,}")
        return result

    def _bound(self, node: Node, values: Sequence[Any]) -> None:
        """Sizes stand in lists; a number by itself is one only where a range ends."""
        ranged = calls.name_of(node.target) in ("arange", "linspace", "eye")
        for value in values:
            sizes = value if isinstance(value, (list, tuple)) else (value,) if ranged else ()
            whole = [max(1, side) for side in sizes if type(side) is int]
            if math.prod(whole) > _MOST_NUMBERS:
                raise LimitExceeded(f"{self.program.label}: {display_name(node.target, 80)} asks for too much memory")

    def _is_own(self, value: Any) -> bool:
        return isinstance(value, torch.Tensor) and value.untyped_storage().data_ptr() in self.own


def _tensor(owner: nn.Module, key: str) -> torch.Tensor:
    found = owner._parameters.get(key)
    return found if found is not None else owner._buffers[key]  # type: ignore[return-value]  # one of them has it


def _recorded(graph: Graph, node: Node) -> list[tuple[int, ...] | None]:
    """Sizes that the first arguments had when the program was exported."""
    known = [graph.values.get(one.name) if isinstance(one, Ref) else None for one in node.args]
    return [value.sizes if value else None for value in known]


def _norm_path(node: Node, program: Program) -> str:
    """Path of the module that a batch norm's four tensors belong to, ``""`` where they belong to none."""
    name = calls.name_of(node.target)
    if name not in ("batch_norm", "_native_batch_norm_legit_no_training", "_batch_norm_no_update"):
        return ""
    keys = [program.own.get(one.name, "") if isinstance(one, Ref) else "" for one in node.args[1:5]]
    if len(keys) < 4 or not keys[2] or (not keys[0]) != (not keys[1]):
        return ""
    path = keys[2].rpartition(".")[0]
    wanted = ["weight", "bias"] if keys[0] else ["", ""]
    expected = [f"{path}.{one}" if one else "" for one in (*wanted, "running_mean", "running_var")]
    return path if path and keys == expected else ""


def _modules(program: Program, tensors: Mapping[str, torch.Tensor]) -> dict[str, nn.Module]:
    """Modules that the audit knows more of than their tensors, by path: normalisations and embeddings."""
    found: dict[str, nn.Module] = {}
    for node in program.graph.nodes:
        path = _norm_path(node, program)
        if path and path not in found:
            eps = node.args[7] if calls.name_of(node.target) == "batch_norm" else node.args[6]
            channels = tensors[f"{path}.running_mean"].numel()
            affine = isinstance(node.args[1], Ref)
            norm = BatchNorm(channels, eps=float(eps), affine=affine, device="meta")
            norm._parameters["weight"] = norm._parameters["bias"] = None
            found[path] = norm
        name, places = calls.name_of(node.target), _WEIGHT_AT.get(calls.name_of(node.target))
        weight = node.args[places] if places is not None and len(node.args) > places else None
        owner, _, last = program.own.get(weight.name, "").rpartition(".") if isinstance(weight, Ref) else ("", "", "")
        if not owner or last != "weight" or owner in found:
            continue
        shape = tuple(tensors[f"{owner}.weight"].shape)
        if name == "embedding" and len(shape) == 2:
            found[owner] = nn.Embedding(*shape, device="meta")
        elif name != "embedding":  # only its class is of use: a normalisation has no Kronecker form
            found[owner] = nn.LayerNorm(shape, bias=False, device="meta")
    return found
