"""Hostile archives of torch.export: each is a good one with one thing changed."""

from __future__ import annotations

import functools
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from corpus_parts import SENTINEL, Case, archive, call, glob, pickled, text

from lcaudit.core.errors import AuditError, LimitExceeded, MalformedInput, UnknownArchitecture, UnsafeCheckpoint

Members = dict[str, bytes]
GRAPH, WEIGHTS, CONSTANTS = (
    "models/model.json",
    "data/weights/model_weights_config.json",
    "data/constants/model_constants_config.json",
)
EXAMPLES = "data/sample_inputs/model.pt"
_EVIL = pickled(call("posix.system", text(f"touch {SENTINEL}")))


@functools.cache
def good() -> tuple[tuple[str, bytes], ...]:
    """Members of an exported network of one convolution and one linear layer."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torch.nn.Sequential(
            torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8, 3)
        ).eval()
        exported = torch.export.export(network, (torch.randn(2, 1, 4, 4),))
    buffer = io.BytesIO()
    torch.export.save(exported, buffer)
    with zipfile.ZipFile(buffer) as file:
        return tuple((name.split("/", 1)[1], file.read(name)) for name in file.namelist())


def packed(members: Members, top: str = "model", method: int = zipfile.ZIP_STORED) -> bytes:
    """The archive of these members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, data in members.items():
            file.writestr(f"{top}/{name}", data)
    return buffer.getvalue()


def changed(change: Callable[[Members], Any], **options: Any) -> bytes:
    """A good archive after ``change``."""
    members = dict(good())
    change(members)
    return packed(members, **options)


def in_json(name: str, change: Callable[[Any], Any]) -> Callable[[Members], None]:
    """Change the JSON of one member."""

    def apply(members: Members) -> None:
        data = json.loads(members[name])
        change(data)
        members[name] = json.dumps(data).encode()

    return apply


def in_graph(change: Callable[[Any], Any]) -> Callable[[Members], None]:
    """Change the graph."""
    return in_json(GRAPH, lambda data: change(data["graph_module"]["graph"]))


def _case(name: str, change: Callable[[Members], Any], error: type[AuditError], says: str, **options: Any) -> Case:
    def build(folder: Path) -> Path:
        path = folder / "model.pt2"
        path.write_bytes(changed(change, **options))
        return path

    return Case(f"pt2: {name}", build, error, says)


def _bytes(name: str, make: Callable[[], bytes], error: type[AuditError], says: str) -> Case:
    def build(folder: Path) -> Path:
        path = folder / "model.pt2"
        path.write_bytes(make())
        return path

    return Case(f"pt2: {name}", build, error, says)


def _put(name: str, data: bytes) -> Callable[[Members], None]:
    return lambda members: members.update({name: data})


def _entry(config: Any) -> Any:
    return next(iter(config["config"].values()))


def _meta(key: str, value: Any) -> Callable[[Members], None]:
    return in_json(WEIGHTS, lambda data: _entry(data)["tensor_meta"].update({key: value}))


def _twice() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in good():
            file.writestr(f"model/{name}", data)
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            file.writestr(f"model/{GRAPH}", b"{}")
    return buffer.getvalue()


def _pickle_weight(members: Members) -> None:
    in_json(WEIGHTS, lambda data: _entry(data).update(use_pickle=True))(members)
    members["data/weights/weight_0"] = archive(_EVIL)


def _whole_pickle(members: Members) -> None:
    in_json(
        CONSTANTS,
        lambda data: data["config"].update(
            evil={"path_name": "custom_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
        ),
    )(members)
    members["data/constants/custom_obj_0"] = _EVIL


def _custom(graph: Any) -> None:
    graph["nodes"][0]["inputs"][0]["arg"] = {"as_custom_obj": {"name": "x", "class_fqn": "os.system"}}


CASES = (
    _case("code in the example inputs", _put(EXAMPLES, archive(_EVIL)), UnsafeCheckpoint, "posix.system"),
    _case(
        "eval in the example inputs",
        _put(EXAMPLES, archive(pickled(call("builtins.eval", text(f"open('{SENTINEL}','w')"))))),
        UnsafeCheckpoint,
        "builtins.eval",
    ),
    _case(
        "a whole module as example input",
        _put(EXAMPLES, archive(pickled(glob("torch.nn.modules.linear.Linear"), b")\x81"))),
        UnsafeCheckpoint,
        "torch.nn.Module",
    ),
    _case("a bare pickle as example input", _put(EXAMPLES, _EVIL), MalformedInput, "zip"),
    _case("a pickled weight", _pickle_weight, UnsafeCheckpoint, "stored as a pickle"),
    _case("a pickled custom object", _whole_pickle, UnsafeCheckpoint, "pickled object"),
    _case("use_pickle that is no truth value", in_json(WEIGHTS, lambda d: _entry(d).update(use_pickle=0)),
          UnsafeCheckpoint, "stored as a pickle"),
    _case("compiled code", _put("data/aotinductor/model/x.so", b"\x7fELF"), UnsafeCheckpoint, "compiled code"),
    _case("a Python file", _put("extra/x.py", b"print(1)"), UnsafeCheckpoint, "compiled code"),
    _case("an unknown member", _put("extra/notes", b"x"), MalformedInput, "unexpected member"),
    _case("an absolute member", _put("/etc/passwd", b"x"), MalformedInput, "impossible name"),
    _case("a member outside", _put("../../x", b"x"), MalformedInput, "impossible name"),
    _case("compressed members", lambda members: None, MalformedInput, "compressed", method=zipfile.ZIP_DEFLATED),
    _case("a bomb", _put("data/weights/weight_9", b"\0" * 10**7), MalformedInput, "compressed",
          method=zipfile.ZIP_DEFLATED),
    _bytes("a member twice", _twice, MalformedInput, "twice"),
    _case("two programs", _put("models/other.json", b"{}"), MalformedInput, "2 programs"),
    _case("no program", lambda members: members.pop(GRAPH), MalformedInput, "0 programs"),
    _case("another format", _put("archive_format", b"pt3"), MalformedInput, "torch.export.save"),
    _case("big-endian", _put("byteorder", b"big"), MalformedInput, "big-endian"),
    _case("a graph that is no JSON", _put(GRAPH, b"{"), MalformedInput, "not JSON"),
    _case("a deep graph", _put(GRAPH, b"[" * 100_000), MalformedInput, "not JSON"),
    _case("a newer schema", in_json(GRAPH, lambda d: d["schema_version"].update(major=9)), MalformedInput, "schema 9"),
    _case("an older schema", in_json(GRAPH, lambda d: d["schema_version"].update(major=7)), MalformedInput, "schema 7"),
    _case("no nodes", in_graph(lambda g: g.pop("nodes")), MalformedInput, "'nodes'"),
    _case("nodes that are none", in_graph(lambda g: g.update(nodes=[3])), MalformedInput, "graph holds"),
    _case("a custom object in the graph", in_graph(_custom), UnsafeCheckpoint, "custom object"),
    _case("an argument of two kinds", in_graph(lambda g: g["nodes"][0]["inputs"][0].update(
        arg={"as_int": 1, "as_none": True})), MalformedInput, "several kinds"),
    _case("a huge number", in_graph(lambda g: g["nodes"][0]["inputs"][0].update(arg={"as_int": 10**30})),
          MalformedInput, "as_int"),
    _case("a truth value as number", in_graph(lambda g: g["nodes"][0]["inputs"][0].update(arg={"as_int": True})),
          MalformedInput, "as_int"),
    _case("inputs that the signature lacks", in_graph(lambda g: g["inputs"].append({"as_tensor": {"name": "z"}})),
          MalformedInput, "different inputs"),
    _case("it changes a buffer", in_json(GRAPH, lambda d: d["graph_module"]["signature"]["output_specs"].insert(
        0, {"buffer_mutation": {"arg": {"name": "x"}, "buffer_name": "y"}})), UnknownArchitecture, "changes its own"),
    _case("a weight that is not stored", in_json(WEIGHTS, lambda d: d["config"].pop("0.weight")), MalformedInput,
          "not stored"),
    _case("bytes that are missing", lambda m: m.pop("data/weights/weight_0"), MalformedInput, "missing"),
    _case("a path out of the archive", in_json(WEIGHTS, lambda d: _entry(d).update(path_name="../../model.json")),
          MalformedInput, "missing"),
    _case("sizes beyond the bytes", _meta("sizes", [{"as_int": 2**40}] * 4), MalformedInput, "more numbers"),
    _case("an offset beyond the bytes", _meta("storage_offset", {"as_int": 10**6}), MalformedInput, "more numbers"),
    _case("strides beyond the bytes", _meta("strides", [{"as_int": 10**6}] * 4), MalformedInput, "more numbers"),
    _case("negative sizes", _meta("sizes", [{"as_int": -2}] * 4), MalformedInput, "plain tensor"),
    _case("an expression as size", _meta("sizes", [{"as_expr": {"expr_str": "__import__('os').abort()"}}] * 4),
          MalformedInput, "plain tensor"),
    _case("sparse weights", _meta("layout", 1), MalformedInput, "plain tensor"),
    _case("an unknown type", _meta("dtype", 99), MalformedInput, "plain tensor"),
    _case("no list of weights", lambda m: m.pop(WEIGHTS), MalformedInput, "list of its weights"),
    _case("a truncated list", _put(WEIGHTS, b'{"config": 3}'), MalformedInput, "damaged"),
    _case("a graph of a gigabyte", in_graph(lambda g: g.update(nodes=[{}] * 200_001)), LimitExceeded, "200,000 calls"),
)  # fmt: skip
