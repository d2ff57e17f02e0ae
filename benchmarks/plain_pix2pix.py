"""pix2pix as it is commonly written, in one file: the peer of benchmarks/training.py.

float32, NCHW, a DataLoader over one .npy file per image, SSIM from scikit-image. Everything
that a competent author writes without thinking is here, so that it may win: the prediction is
computed once per step, the discriminator is frozen in the generator's step, Adam is fused, the
workers persist, validation runs without autograd in large batches. Only numpy, torch and
scikit-image are used; nothing comes from dexsearch.

Folders  ROOT/train and ROOT/validation; per image 0000_input.npy (1 H W, normalised),
         0000_target.npy (C H W, in units of the data range) and 0000_mask.npy (1 H W; where the
         affine copy is fitted in train, where SSIM counts in validation).
"""

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from skimage.metrics import structural_similarity
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset


@dataclass(frozen=True)
class Settings:
    """Hyper-parameters, equal to those of dexsearch's default configuration."""

    n_targets: int = 2
    depth: int = 4
    width: int = 16
    norm: str = "batch"
    n_strided: int = 2  # receptive field 34 px
    discriminator_width: int = 16
    l1_weight: float = 100.0
    learning_rate: float = 1e-3
    beta1: float = 0.5
    batch_size: int = 16
    ema_decay: float = 0.995
    seed: int = 0


class Images(Dataset[tuple[np.ndarray, np.ndarray, np.ndarray]]):
    """Image pairs read from disk when they are asked for."""

    def __init__(self, folder: Path) -> None:
        self.stems = sorted(path.name[:-10] for path in folder.glob("*_input.npy"))
        self.folder = folder

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.stems)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Read one image: input, target, mask."""
        path = self.folder / self.stems[index]
        image, target, mask = (np.load(f"{path}_{kind}.npy") for kind in KINDS)
        return image, target, mask


KINDS = ("input", "target", "mask")


def norm(kind: str, channels: int) -> nn.Module:
    """Return a normalisation layer."""
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    return nn.InstanceNorm2d(channels, affine=True)


class UNet(nn.Module):
    """U-Net with a learned affine copy of the input added to its output."""

    def __init__(self, s: Settings) -> None:
        super().__init__()
        widths = [s.width * min(2**level, 8) for level in range(s.depth)]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level, n_out in enumerate(widths):
            n_in = widths[level - 1] if level else 1
            convolution = nn.Conv2d(n_in, n_out, 4, 2, 1, bias=level == 0)
            layers = [] if level == 0 else [norm(s.norm, n_out)]
            self.down.append(nn.Sequential(convolution, *layers, nn.LeakyReLU(0.2, inplace=True)))
        for level in reversed(range(1, s.depth)):
            n_in = widths[level] * (1 if level == s.depth - 1 else 2)
            self.up.append(
                nn.Sequential(
                    nn.ConvTranspose2d(n_in, widths[level - 1], 4, 2, 1, bias=False),
                    norm(s.norm, widths[level - 1]),
                    nn.ReLU(inplace=True),
                )
            )
        self.last = nn.ConvTranspose2d(2 * widths[0], s.n_targets, 4, 2, 1)
        self.slope = nn.Parameter(torch.zeros(s.n_targets, 1, 1))
        self.offset = nn.Parameter(torch.zeros(s.n_targets, 1, 1))
        self.apply(init_weights)
        nn.init.zeros_(self.last.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Predict the targets."""
        skips, features = [], x
        for block in self.down:
            features = block(features)
            skips.append(features)
        skips.pop()
        for block in self.up:
            features = torch.cat((block(features), skips.pop()), dim=1)
        return self.last(features) + self.slope * x + self.offset


class PatchGAN(nn.Module):
    """Discriminator on input and target."""

    def __init__(self, s: Settings) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(1 + s.n_targets, s.discriminator_width, 4, 2, 1),
            nn.LeakyReLU(0.2, inplace=True),
        ]
        channels = s.discriminator_width
        for level in range(1, s.n_strided + 1):
            wider = s.discriminator_width * min(2**level, 8)
            stride = 2 if level < s.n_strided else 1
            layers += [
                nn.Conv2d(channels, wider, 4, stride, 1, bias=False),
                norm(s.norm, wider),
                nn.LeakyReLU(0.2, inplace=True),
            ]
            channels = wider
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels, 1, 4, 1, 1))
        self.apply(init_weights)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return one logit per patch."""
        return self.layers(torch.cat((x, y), dim=1))


def init_weights(module: nn.Module) -> None:
    """Draw Kaiming-normal weights."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        taps = 4 if isinstance(module, nn.ConvTranspose2d) else 16
        nn.init.normal_(module.weight, std=(2 / 1.04 / (module.in_channels * taps)) ** 0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def fit_affine(generator: UNet, images: Images) -> None:
    """Start from the least-squares affine copy of the input inside the masks."""
    parts = [images[index] for index in range(len(images))]
    x = np.concatenate([image[mask] for image, _, mask in parts])
    for target in range(generator.slope.shape[0]):
        y = np.concatenate([truth[target][mask[0]] for _, truth, mask in parts])
        slope, offset = np.polyfit(x.astype(np.float64), y.astype(np.float64), 1)
        generator.slope.data[target], generator.offset.data[target] = slope, offset


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, weight: float) -> None:
    """Move the average of weights and statistics towards the network."""
    for ours, theirs in zip(average.parameters(), network.parameters(), strict=True):
        ours.lerp_(theirs, weight)
    for ours, theirs in zip(average.buffers(), network.buffers(), strict=True):
        if ours.is_floating_point():
            ours.lerp_(theirs, weight)
        else:
            ours.copy_(theirs)


@torch.inference_mode()
def validate(generator: nn.Module, loader: DataLoader) -> float:
    """Return the mean masked SSIM of scikit-image over images and targets."""
    scores = []
    for x, y, mask in loader:
        predictions, truths = generator(x).numpy(), y.numpy()
        for prediction, truth, inside in zip(predictions, truths, mask.numpy(), strict=True):
            for channel in range(truth.shape[0]):
                _, similarity = structural_similarity(
                    prediction[channel],
                    truth[channel],
                    data_range=1.0,
                    gaussian_weights=True,
                    sigma=1.5,
                    use_sample_covariance=False,
                    full=True,
                )
                scores.append(similarity[inside[0]].mean())
    return float(np.mean(scores))


def plain_epochs(root: Path, s: Settings, *, n_workers: int) -> Iterator[tuple[float, float]]:
    """Train and validate; yield seconds and validation SSIM of each epoch, without end."""
    torch.manual_seed(s.seed)
    options = {"num_workers": n_workers, "persistent_workers": n_workers > 0}
    train_images = Images(root / "train")
    batches = DataLoader(train_images, s.batch_size, shuffle=True, drop_last=True, **options)
    validation = DataLoader(Images(root / "validation"), s.batch_size, **options)
    generator, discriminator = UNet(s), PatchGAN(s)
    fit_affine(generator, train_images)
    average = copy.deepcopy(generator).eval()
    betas = (s.beta1, 0.999)
    adam_g = torch.optim.Adam(generator.parameters(), s.learning_rate, betas, fused=True)
    adam_d = torch.optim.Adam(discriminator.parameters(), s.learning_rate, betas, fused=True)
    squared, absolute = nn.MSELoss(), nn.L1Loss()
    step = 0
    while True:
        started = time.perf_counter()
        for x, y, _ in batches:
            prediction = generator(x)
            discriminator.requires_grad_(True)
            real, fake = discriminator(x, y), discriminator(x, prediction.detach())
            loss_d = 0.5 * (
                squared(real, torch.ones_like(real)) + squared(fake, torch.zeros_like(fake))
            )
            adam_d.zero_grad()
            loss_d.backward()
            adam_d.step()
            discriminator.requires_grad_(False)
            verdict = discriminator(x, prediction)
            loss_g = squared(verdict, torch.ones_like(verdict))
            loss_g = loss_g + s.l1_weight * absolute(prediction, y)
            adam_g.zero_grad()
            loss_g.backward()
            adam_g.step()
            step += 1
            decay = min(s.ema_decay, (1 + step) / (10 + step))
            update_average(average, generator, 1 - decay)
        ssim = validate(average, validation)
        yield time.perf_counter() - started, ssim
