"""
What augmentations do to a row
==============================

An augmentation shows a network the same row in another form each time, in training. Look at the
forms before you train on them: if you cannot tell the class any more, neither can the network.
"""

# %%
# An image
# --------
# A sailing boat, drawn here so that the example needs no file: colours from 0 to 1, channels first.
import matplotlib.pyplot as plt
import numpy as np
import torch

from adaptlearn import ColorJitter, CutMix, FlipCrop, GaussianNoise, RandAugment, SpecAugment
from adaptlearn.augmentation import make_augmentation


def boat(size=96):
    y, x = np.mgrid[0:size, 0:size] / size
    image = np.stack([0.55 - 0.3 * y, 0.75 - 0.2 * y, 0.95 - 0.1 * y])  # sky
    paint = [
        ((x - 0.8) ** 2 + (y - 0.18) ** 2 < 0.008, (1.0, 0.9, 0.3)),  # sun
        (y > 0.72 + 0.015 * np.sin(24 * x), (0.05, 0.3, 0.5)),  # sea
        ((x > 0.47) & (x < 0.49) & (y > 0.15) & (y < 0.65), (0.35, 0.2, 0.1)),  # mast
        ((x > 0.5) & (y < 0.6) & (y > 0.18) & (x - 0.5 < 0.75 * (y - 0.18)), (0.95, 0.95, 0.9)),
        ((x < 0.46) & (y < 0.6) & (y > 0.3) & (0.46 - x < 0.7 * (y - 0.3)), (0.85, 0.2, 0.2)),
        ((y > 0.63) & (y < 0.76) & (np.abs(x - 0.48) < 0.35 - 0.9 * (y - 0.63)), (0.4, 0.22, 0.1)),
    ]
    for where, colour in paint:
        image[:, where] = np.array(colour)[:, None]
    return torch.tensor(image, dtype=torch.float32)


# %%
# Each line below is one augmentation, called on six copies of the image: every copy has draws of
# its own. Networks get normalised images; these are not, so that the colours need to be told
# ``mean=0, std=1``.
plain = {"mean": 0.0, "std": 1.0}
lines = {
    "flip_crop": FlipCrop(),
    "color": ColorJitter(**plain),
    "rand_augment\nmagnitude 5": RandAugment(**plain),
    "rand_augment\nmagnitude 9": RandAugment(magnitude=9, **plain),
    "noise": GaussianNoise(std=0.1),
    "flip_crop\nand color": make_augmentation([FlipCrop(), ColorJitter(**plain)]),
}
image = boat()
batch = {"pixel_values": image.repeat(6, 1, 1, 1)}
figure, axes = plt.subplots(len(lines) + 1, 7, figsize=(9, 9.5), layout="constrained")
drawn = {}
for row, (name, augmentation) in zip(axes, lines.items(), strict=False):
    told = augmentation(batch, torch.Generator().manual_seed(3))["pixel_values"]
    drawn[name] = told
    for ax, picture in zip(row, [image, *told], strict=True):
        ax.imshow(picture.clamp(0, 1).permute(1, 2, 0))
    row[0].set_ylabel(name, rotation=0, ha="right", va="center")

# %%
# CutMix is a *mixing*: it combines two images and their labels. The number is the share of the
# first label, which is that of the pixels. Here the other image is the first in negative colours.
pair = torch.stack([image, 1 - image]).repeat(6, 1, 1, 1)
torch.manual_seed(4)
mixed = CutMix().mix(pair, torch.tensor([0, 1]).repeat(6), None, None)
different = np.flatnonzero(mixed.y != mixed.other_y)[:6]
for ax, i in zip(axes[-1, 1:], different, strict=True):
    ax.imshow(mixed.features[i].permute(1, 2, 0))
    ax.set_xlabel(f"{mixed.share[i]:.2f}")
axes[-1, 0].imshow(image.permute(1, 2, 0))
axes[-1, 0].set_ylabel("CutMix", rotation=0, ha="right", va="center")
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
axes[0, 0].set_title("as it is")
plt.show()

assert torch.equal(batch["pixel_values"][0], image)  # what is given stays as it is
assert all(len({tuple(p.flatten().tolist()) for p in told}) == 6 for told in drawn.values())

# %%
# A recording
# -----------
# SpecAugment blanks out stretches of time and bands of frequency of a spectrogram. The blanks hold
# the mean of the recording.
time, band = np.meshgrid(np.linspace(0, 1, 120), np.arange(40))
sound = np.exp(-(((band - 12 - 8 * np.sin(6 * time)) / 2.5) ** 2))
sound += 0.7 * np.exp(-(((band - 26 - 5 * np.cos(9 * time)) / 2.0) ** 2))
spectra = {"input_features": torch.tensor(sound, dtype=torch.float32).repeat(3, 1, 1)}
told = SpecAugment()(spectra, torch.Generator().manual_seed(1))["input_features"]
figure, axes = plt.subplots(1, 4, figsize=(9, 2), layout="constrained", sharey=True)
for ax, picture in zip(axes, [spectra["input_features"][0], *told], strict=True):
    ax.imshow(picture, origin="lower", aspect="auto")
    ax.set(xticks=[], yticks=[], xlabel="time")
axes[0].set(ylabel="frequency", title="as it is")
plt.show()

assert (told != spectra["input_features"]).any()
