"""The one place where torch unpickles, after every static check."""

from __future__ import annotations

import io
import warnings

import torch

from lcaudit.checkpoints._pickle_beside import STAND_INS
from lcaudit.core.errors import EnvironmentFailure, MalformedInput


def load_checked(label: str, data: bytes) -> object:
    """Unpickle ``data``, whose bytes the dry run has accepted, on the CPU.

    Raises:
        MalformedInput: torch refuses what the dry run accepted. EnvironmentFailure: memory ran out.
    """
    try:
        # torch warns about pickle protocols and deprecated storages; neither is the user's concern here.
        with warnings.catch_warnings(), torch.serialization.safe_globals(STAND_INS):
            warnings.simplefilter("ignore")
            # From memory, so that these are the checked bytes and no path-dependent reader takes over.
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True, mmap=False)
    except MemoryError:
        raise EnvironmentFailure(f"{label}: not enough memory for its tensors", "use a larger machine") from None
    except Exception as error:  # some twenty types, documented nowhere; torch's own text advises unsafe loading
        raise MalformedInput(
            f"{label}: torch's weights-only reader refused it ({type(error).__name__})",
            "save the weights again: torch.save(model.state_dict(), 'weights.pt')",
        ) from None
