"""Sees every application of a weight while the network runs, wherever it happens.

Watching the calls (``F.linear``, ``F.conv2d``, …) instead of the modules finds a weight that is packed
(``nn.MultiheadAttention``), shared by several modules, used several times or applied by hand.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from lcaudit.capture._weights import Weight, Weights
from lcaudit.capture.handlers import handlers, kind_of
from lcaudit.capture.handlers._base import Call, Handler

#: Overridable functions in Python inside which weights are applied.
_OUTER = (F.multi_head_attention_forward, torch.autograd.backward)


@dataclass(frozen=True, slots=True)
class Use:
    """One application of a weight. ``tokens_first``: its rows are laid out [tokens, batch]."""

    weight: Weight
    kind: str
    handler: Handler
    call: Call
    tokens_first: bool

    @property
    def outputs_first(self) -> bool:
        """Whether the *stored* weight's first side is its outputs'."""
        return self.call.outputs_first is not self.weight.flipped


class Watch(TorchFunctionMode):
    """Calls ``see(use, output)`` after every application of a weight, and hands on what it returns.

    Attributes:
        aside: called with (parameter's id, name of the function) where a weight enters any other computation.
        adapt: a layer kind → what another convention makes of it.
    """

    def __init__(
        self,
        weights: Weights,
        see: Callable[[Use, torch.Tensor], torch.Tensor],
        aside: Callable[[int, str], None] | None = None,
        adapt: Callable[[Handler], Handler] = lambda handler: handler,
    ) -> None:
        super().__init__()
        self.weights, self.see, self.aside = weights, see, aside
        self.outer = {function: _unguarded(function) for function in _OUTER}
        self.known: dict[Any, list[tuple[str, Handler]]] = {}
        for kind, handler in handlers().items():
            for function in handler.functions:
                self.known.setdefault(function, []).append((kind, adapt(handler)))
        for found in self.known.values():  # kinds that ask for a certain owner come before the others
            found.sort(key=lambda pair: pair[1].owner is torch.nn.Module)
        self.attending = 0
        self.dressed: tuple[str, torch.nn.Module, torch.Tensor] | None = None

    def __torch_function__(
        self, function: Any, kinds: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Every call of a torch function passes here; inside, no call does."""
        kwargs = kwargs or {}
        if function in self.outer:
            attention = function is F.multi_head_attention_forward
            self.attending += attention
            try:
                with self:
                    return self.outer[function](*args, **kwargs)
            finally:
                self.attending -= attention
        if function in self.known:
            use = self._use(function, args, kwargs)
            if use:
                return self.see(use, use.handler.run(function, use.call, args, kwargs))
        output = function(*args, **kwargs)
        if self.aside:
            self._look_aside(function, args, kwargs, output)
        return output

    def _use(self, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Use | None:
        for kind, handler in self.known[function]:
            call = handler.read(function, args, kwargs)
            if call is None:
                continue
            weight = self.weights.find(call.weight, torch.nn.Embedding in handler.modules)
            if self.dressed:
                path, module, inputs = self.dressed
                if call.weight is module._parameters.get("weight"):
                    call = handler.undress(module, inputs, call)
                elif weight is None and call.inputs is inputs:
                    weight = self.weights.computed(path, module)
            if weight and isinstance(weight.owner, handler.owner):
                return Use(weight, kind, handler, call, self.attending > 0)
        return None

    def _look_aside(self, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> None:
        assert self.aside
        outputs = output if isinstance(output, (tuple, list)) else [output]
        made = {value.untyped_storage().data_ptr() for value in outputs if type(value) is torch.Tensor}
        for argument in (*args, *kwargs.values()):
            for value in argument if isinstance(argument, (tuple, list)) else [argument]:
                parameter = self.weights.parameter_of(value)
                # a view, a shape or a type of a weight is no use of it
                if parameter is not None and made - {value.untyped_storage().data_ptr()}:
                    # an operator of a graph is called cat.default
                    self.aside(parameter, getattr(function, "__name__", "a function").partition(".")[0])

    @contextmanager
    def modules(self, module: torch.nn.Module) -> Iterator[None]:
        """Hooks, for the time inside, on modules that pad their input or compute their weight by themselves."""
        with ExitStack() as stack:
            for path, part in module.named_modules():
                padded = getattr(part, "padding_mode", "zeros") != "zeros"
                if kind_of(part) and (padded or "weight" not in part._parameters):
                    stack.callback(part.register_forward_pre_hook(self._dress(path)).remove)
                    stack.callback(part.register_forward_hook(self._undress, always_call=True).remove)
            yield

    def _dress(self, path: str) -> Callable[[torch.nn.Module, tuple[Any, ...]], None]:
        def hook(module: torch.nn.Module, args: tuple[Any, ...]) -> None:
            self.dressed = (path, module, args[0]) if args else None

        return hook

    def _undress(self, module: torch.nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self.dressed = None


def _unguarded(function: Any) -> Any:
    """A copy of an overridable Python function that does not ask for overrides of itself, only of what it calls."""
    never = {"has_torch_function": lambda arguments: False}
    copy = types.FunctionType(
        function.__code__, function.__globals__ | never, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy
