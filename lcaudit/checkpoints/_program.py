"""The graph of an exported program, from its JSON: decoded by hand, so that nothing in it is ever evaluated.

``torch.export.load`` evaluates the expressions of symbolic sizes with sympy, imports modules by name and unpickles
example inputs. Here sizes that may change are only marked, metadata and example inputs are not looked at, and an
operator is a string until it is found on a list.

Source: ``torch/_export/serde/schema.py`` (schema 8).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lcaudit.core.errors import LimitExceeded, MalformedInput, UnknownArchitecture, UnsafeCheckpoint
from lcaudit.core.program import Graph, Kind, Node, Program, Ref, Value
from lcaudit.core.serial import parse_json
from lcaudit.core.text import display_name

SCHEMA = 8
MOST_NODES = 200_000
MOST_DEPTH = 4
_AGAIN = "export the model again with torch.export.save"
_FLOATS = {"Infinity": float("inf"), "-Infinity": float("-inf"), "NaN": float("nan")}


def decode(label: str, text: bytes) -> Program:
    """The program in ``models/NAME.json``.

    Raises:
        MalformedInput: it is not what torch writes. LimitExceeded: too many calls. UnsafeCheckpoint: it holds objects
            that only a pickle can give. UnknownArchitecture: a program that changes its weights.
    """
    try:
        data = parse_json(text)
    except MalformedInput as error:
        raise MalformedInput(f"{label}: the graph is not JSON: {display_name(error.message)}", _AGAIN) from None
    reader = _Reader(label)
    version = reader.get(reader.get(data, "schema_version", dict), "major", int)
    if version != SCHEMA:
        raise MalformedInput(
            f"{label}: an exported program of schema {version}, lcaudit reads {SCHEMA}",
            "export it again with torch 2.8 or later" if version < SCHEMA else "use a newer lcaudit",
        )
    module = reader.get(data, "graph_module", dict)
    graph = reader.graph(reader.get(module, "graph", dict), 0)
    signature = reader.get(module, "signature", dict)
    own, parameters, given, user = _inputs(reader, reader.get(signature, "input_specs", list))
    outputs = [reader.only(one) for one in reader.get(signature, "output_specs", list)]
    kinds = {kind for kind, _ in outputs}
    others = sorted(kinds - {"user_output"})
    if others:
        raise UnknownArchitecture(
            f"{label}: running this program changes its own state or input ({display_name(', '.join(others), 80)})",
            "call model.eval() before torch.export.export, and export again",
        )
    if {*own, *given, *user} != set(graph.inputs) or len(graph.outputs) != len(outputs):
        raise MalformedInput(f"{label}: the graph and its signature name different inputs or outputs", _AGAIN)
    said = data.get("torch_version", "")
    return Program(graph, own, parameters, given, user, said if isinstance(said, str) else "")


def _inputs(
    reader: _Reader, specs: list[Any]
) -> tuple[dict[str, str], frozenset[str], dict[str, Any], tuple[str, ...]]:
    own: dict[str, str] = {}
    parameters, user, given = set(), [], {}
    keys = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}
    for spec in specs:
        kind, what = reader.only(spec)
        if kind in keys:
            key = reader.get(what, keys[kind], str)
            own[reader.get(reader.get(what, "arg", dict), "name", str)] = key
            parameters |= {key} if kind == "parameter" else set()
        elif kind == "user_input":
            value = reader.argument(reader.get(what, "arg", dict), 0)
            if not isinstance(value, Ref):
                raise reader.fault("an input that is no tensor")
            user.append(value.name)
        elif kind == "constant_input":
            given[reader.get(what, "name", str)] = reader.only(reader.get(what, "value", dict))[1]
        elif kind == "custom_obj":
            raise reader.unsafe("a custom object")
        else:
            raise reader.fault(f"an input of kind {display_name(kind, 40)}")
    return own, frozenset(parameters), given, tuple(user)


class _Reader:
    """Decodes the pieces of one file; every surprise is an error that names the file."""

    def __init__(self, label: str) -> None:
        self.label, self.nodes = label, 0

    def fault(self, what: str) -> MalformedInput:
        return MalformedInput(f"{self.label}: its graph holds {what}", _AGAIN)

    def unsafe(self, what: str) -> UnsafeCheckpoint:
        return UnsafeCheckpoint(
            f"{self.label}: its graph holds {what}, which only a pickle can restore; lcaudit runs no code from files",
            "export a model of plain tensors, or save its weights: torch.save(model.state_dict(), 'weights.pt')",
        )

    def get(self, data: Any, key: str, kind: type) -> Any:
        value = data.get(key) if isinstance(data, dict) else None
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.fault(f"no {kind.__name__} {key!r} where one belongs")
        return value

    def only(self, data: Any) -> tuple[str, Any]:
        """A union is a record of one entry."""
        if not isinstance(data, dict) or len(data) != 1:
            raise self.fault("a union of several kinds")
        return next(iter(data.items()))

    def graph(self, data: Mapping[str, Any], depth: int) -> Graph:
        if depth > MOST_DEPTH:
            raise LimitExceeded(f"{self.label}: graphs nested in more than {MOST_DEPTH} levels", _AGAIN)
        nodes = self.get(data, "nodes", list)
        self.nodes += len(nodes)
        if self.nodes > MOST_NODES:
            raise LimitExceeded(f"{self.label}: more than {MOST_NODES:,} calls in its graph", _AGAIN)
        inputs = [self.argument(one, depth) for one in self.get(data, "inputs", list)]
        if not all(isinstance(one, Ref) for one in inputs):
            # the value of a fixed input stands in the signature
            inputs = [one if isinstance(one, Ref) else Ref("") for one in inputs]
        values = {name: self.value(one) for name, one in self.get(data, "tensor_values", dict).items()}
        return Graph(
            tuple(one.name for one in inputs if one.name),
            tuple(self.argument(one, depth) for one in self.get(data, "outputs", list)),
            tuple(self.node(one, depth) for one in nodes),
            values,
        )

    def value(self, data: Any) -> Value:
        sizes = []
        for one in self.get(data, "sizes", list):
            kind, size = self.only(one)
            if kind not in ("as_int", "as_expr") or (kind == "as_int" and not _is_whole(size)):
                raise self.fault("a size that is no number")
            sizes.append(size if kind == "as_int" else -1)
        return Value(self.get(data, "dtype", int), tuple(sizes))

    def node(self, data: Any, depth: int) -> Node:
        args, options = [], {}
        for one in self.get(data, "inputs", list):
            value = self.argument(self.get(one, "arg", dict), depth)
            if one.get("kind") == 2:
                options[self.get(one, "name", str)] = value
            else:
                args.append(value)
        outputs: list[str] = []
        for one in self.get(data, "outputs", list):
            value = self.argument(one, depth)
            for each in value if isinstance(value, tuple) else (value,):
                if each is not None and not isinstance(each, Ref):
                    raise self.fault("an output without a name")
                outputs.append(each.name if each else "")
        return Node(self.get(data, "target", str), tuple(args), options, tuple(outputs))

    def argument(self, data: Any, depth: int) -> Any:
        kind, value = self.only(data)
        if kind == "as_graph":
            return self.graph(self.get(value, "graph", dict), depth + 1)
        if kind == "as_custom_obj":
            raise self.unsafe(f"a custom object {display_name(self.get(value, 'class_fqn', str), 60)}")
        read = _ARGUMENTS.get(kind)
        if read is None:
            raise self.fault(f"an argument of kind {display_name(kind, 40)}")
        try:
            return read(value)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise self.fault(f"an {kind} that is none") from None


def _is_whole(value: Any) -> bool:
    return type(value) is int and abs(value) < 2**63


def _int(value: Any) -> int:
    if not _is_whole(value):
        raise ValueError
    return int(value)


def _bool(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError
    return value


def _float(value: Any) -> float:
    if isinstance(value, str):
        return _FLOATS[value]
    if type(value) not in (int, float):
        raise ValueError
    return float(value)


def _string(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 1000:
        raise ValueError
    return value


def _ref(value: Any) -> Ref:
    return Ref(_string(value["name"]))


def _symbol(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A name, or a constant among names."""

    def symbol(value: Any) -> Any:
        ((kind, content),) = value.items()
        return Ref(_string(content)) if kind == "as_name" else read(content)

    return symbol


def _optional(value: Any) -> Ref | None:
    ((kind, content),) = value.items()
    return None if kind == "as_none" else _ref(content)


def _each(read: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    return lambda values: tuple(read(one) for one in values)


def _kind(what: Any) -> Callable[[Any], Kind]:
    return lambda value: Kind(what, _int(value))


_ARGUMENTS: dict[str, Callable[[Any], Any]] = {
    "as_none": lambda value: None,
    "as_tensor": _ref,
    "as_tensors": _each(_ref),
    "as_optional_tensor": _optional,
    "as_optional_tensors": _each(_optional),
    "as_int": _int,
    "as_ints": _each(_int),
    "as_int_lists": _each(_each(_int)),
    "as_float": _float,
    "as_floats": _each(_float),
    "as_bool": _bool,
    "as_bools": _each(_bool),
    "as_string": _string,
    "as_sym_int": _symbol(_int),
    "as_sym_ints": _each(_symbol(_int)),
    "as_sym_float": _symbol(_float),
    "as_sym_floats": _each(_symbol(_float)),
    "as_sym_bool": _symbol(_bool),
    "as_sym_bools": _each(_symbol(_bool)),
    "as_scalar_type": _kind("dtype"),
    "as_layout": _kind("layout"),
    "as_memory_format": _kind("memory format"),
    "as_device": lambda value: Kind("device"),
}
