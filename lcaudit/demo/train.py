"""Train the demonstration network: ``python -m lcaudit.demo.train [file]``, half a minute on one core.

A CIFAR-style ResNet-20 of width 16 on the 1000 training digits, by the usual recipe: momentum 0.9,
weight decay 1e-4, one cycle of the learning rate up to 0.1 and down to nothing, images shifted by up to
one pixel. Nothing is done to its conditioning: what an audit finds in it is what training leaves.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch.nn import functional

from lcaudit.architectures.resnet_cifar import FAMILY
from lcaudit.demo import WEIGHTS
from lcaudit.probes import digits

EPOCHS = 60
BATCH = 50
RATE = 0.1
DECAY = 1e-4
#: ResNet-20 of He et al. with option A shortcuts and a grey image in place of a coloured one.
VARIANT: dict[str, str | int | bool] = {
    "channels": 1,
    "stem": 3,
    "max_pool": False,
    "stem_width": 16,
    "blocks": "3-3-3",
    "widths": "16-32-64",
    "block": "basic",
    "expansion": 1,
    "groups": 1,
    "option": "A",
    "shortcut": "shortcut",
    "head": "linear",
    "classes": 10,
}


def split(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Images float32 [n, 1, 8, 8], normalised, and labels int64 [n] of the ``train`` or ``test`` split."""
    images, labels = digits.load(name)
    scaled = (images.astype(np.float32) / digits.SCALE - digits.MEAN[0]) / digits.STD[0]
    return torch.from_numpy(scaled.astype(np.float32)).unsqueeze(1), torch.from_numpy(labels)


def train(epochs: int = EPOCHS, seed: int = 0) -> torch.nn.Module:
    """Train from scratch; the same seed gives the same weights on the same machine and torch release.

    The global random state is left as it was found.
    """
    images, labels = split("train")
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = FAMILY.build(VARIANT)
    optimiser = torch.optim.SGD(network.parameters(), lr=RATE, momentum=0.9, weight_decay=DECAY, nesterov=True)
    steps = len(images) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=epochs * steps)
    network.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(images), generator=generator)[: steps * BATCH].split(BATCH):
            optimiser.zero_grad()
            loss = functional.cross_entropy(network(shifted(images[chosen], generator)), labels[chosen])
            loss.backward()
            optimiser.step()
            schedule.step()
    return network.eval()


def shifted(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each image [b, 1, h, w] moved by −1, 0 or 1 pixel along each axis; black comes in at the border."""
    height, width = images.shape[2:]
    black = -digits.MEAN[0] / digits.STD[0]
    padded = functional.pad(images, (1, 1, 1, 1), value=black)
    corners = torch.randint(0, 3, (len(images), 2), generator=generator).tolist()
    return torch.stack([padded[i, :, y : y + height, x : x + width] for i, (y, x) in enumerate(corners)])


def accuracy(network: torch.nn.Module) -> float:
    """Share of the 797 test digits that the network names rightly."""
    images, labels = split("test")
    with torch.no_grad():
        return (network(images).argmax(1) == labels).double().mean().item()


def main(output: Path = WEIGHTS) -> None:
    """Train and save weights (float32) with the test accuracy beside them."""
    torch.set_num_threads(1)  # sums in another order would give other weights
    network = train()
    reached = accuracy(network)
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    output.write_bytes(save(state, metadata={"best_acc": f"{reached:.4f}", "trained_on": "digits train split"}))
    print(f"{output}: test accuracy {reached:.2%}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
