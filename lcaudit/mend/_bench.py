"""A network on the bench: the samples that measure it, those that judge it, and what can be asked of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lcaudit import capture, opening, probes, recipes
from lcaudit.core import hub
from lcaudit.core.declared import PREFIX
from lcaudit.core.errors import UsageError
from lcaudit.core.machine import DTYPES, choose_device
from lcaudit.core.measurements import ProbeFit
from lcaudit.core.recipe import METADATA_KEY, Step
from lcaudit.core.text import display_name
from lcaudit.core.types import FactorMoments, Network, Probe
from lcaudit.spectra.plug_in import second_moments


class Bench:
    """A network, the half of the probe that measures and the half that judges.

    Attributes:
        available: samples that the data has.
        earlier: steps of the recipe that made this network already, if one did.
        held_out: ``None`` where fewer than two samples are left.
        run: device, type and batch size, as the capturing functions take them. task: what the outputs stand for,
            likewise.
    """

    def __init__(self, model: str | Path, data: str, samples: int | None, options: dict[str, Any]) -> None:
        self.options = options
        get = options.get
        most = get("max_download", hub.MOST)
        checkpoint, networks = opening.networks_of(model, get("arch"), most, base=get("base"))
        text = checkpoint.texts.get(METADATA_KEY)
        if checkpoint.program and not get("arch"):
            raise UsageError(
                f"{display_name(checkpoint.record.name)}: fixes change modules, and an exported program has none",
                "fix the weights that it was exported from, or pass --arch file.py:factory",
            )
        #: what ``lcaudit export`` said of the network, which fixes leave as it is
        self.declared = {key: value for key, value in checkpoint.texts.items() if key.startswith(PREFIX)}
        self.earlier: tuple[Step, ...] = recipes.parse(text, checkpoint.record.name).steps if text is not None else ()
        self.seed = get("seed", 0)
        self.task: dict[str, Any] = {"task": get("task", "auto"), "ignore_index": get("ignore_index", -100)}
        open_probe = partial(
            opening.probe_of, data, networks[0], most, root=get("data_root"), split=get("split"), seed=self.seed,
            mean=get("mean"), std=get("std"), columns=get("columns"), input_size=get("input_size"),
            interpolation=get("interpolation"), tokenizer=get("tokenizer"), max_tokens=get("max_tokens"), **self.task,
        )  # fmt: skip
        self.available = open_probe(samples=2).record.available
        half = min(self.available // 2, probes.DEFAULT_SAMPLES) if samples is None else samples
        device = choose_device(get("device", "auto"), get("dtype", "float32"))
        whole = open_probe(samples=min(self.available, 2 * max(2, half)))
        self.run: dict[str, Any] = {"device": device, "dtype": DTYPES[get("dtype", "float32")]}
        asked = get("batch_size", "auto")
        self.network: Network
        self.network, whole, _ = opening.identified(
            networks, whole, batch_size=asked, seed=self.seed, **self.task, **self.run
        )
        self.run["batch_size"] = capture.first_batch_size(asked, device, whole, self.network.record.classes)
        keys = whole.keys[: max(2, min(half, len(whole.keys)))]
        measuring = capture.part_of(whole, keys, True, len(keys))
        assert measuring is not None, "at least two samples are measured"
        self.probe: Probe = measuring
        self.held_out: Probe | None = capture.part_of(whole, keys, False, len(keys))

    def outputs(self, module: torch.nn.Module, probe: Probe | None) -> tuple[torch.Tensor, ProbeFit] | None:
        """Outputs of every sample, error and loss; ``None`` where no samples are held out."""
        if probe is None:
            return None
        return capture.evaluate(module, probe, classes=self.network.record.classes, **self.task, **self.run)

    def moments(self, module: torch.nn.Module, layers: Sequence[str]) -> dict[str, FactorMoments]:
        """Second moments of the named layers."""
        if not layers:
            return {}
        fisher = capture.fisher_of(None, 1, "kfac")
        found = capture.measure(
            replace(self.network, module=module), self.probe, seed=self.seed, fisher=fisher,
            layers=tuple(map(literally, layers)), **self.task, **self.run,
        )  # fmt: skip
        return {one.layer.name: second_moments(one) for one in found.layers if not one.form}


def literally(name: str) -> str:
    """A pattern that matches the name alone."""
    return "".join(f"[{one}]" if one in "*?[" else one for one in name)
