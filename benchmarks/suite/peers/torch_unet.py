"""The U-Net in PyTorch; images come and go as [B, H, W, C], which is channels last in memory."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.suite.peers.layouts import frequencies


class Time(nn.Module):
    """An MLP of the sines and cosines of times [B]."""

    def __init__(self, dim, hidden):
        super().__init__()
        self.register_buffer("frequencies", torch.from_numpy(frequencies(dim)), persistent=False)
        self.linear_0, self.linear_1 = nn.Linear(dim, hidden), nn.Linear(hidden, hidden)

    def forward(self, times):
        angles = times[:, None] * self.get_buffer("frequencies")
        waves = torch.cat([angles.sin(), angles.cos()], -1)
        return F.silu(self.linear_1(F.silu(self.linear_0(waves))))


class ResidualBlock(nn.Module):
    def __init__(self, inside, outside, times, groups):
        super().__init__()
        self.norm_0, self.norm_1 = nn.GroupNorm(groups, inside), nn.GroupNorm(groups, outside)
        self.conv_0 = nn.Conv2d(inside, outside, 3, padding=1)
        self.time = nn.Linear(times, outside)
        self.conv_1 = nn.Conv2d(outside, outside, 3, padding=1)
        self.changes = inside != outside
        if self.changes:
            self.shortcut = nn.Conv2d(inside, outside, 1)

    def forward(self, x, t):
        h = self.conv_0(F.silu(self.norm_0(x)))
        h = h + self.time(t)[:, :, None, None]
        h = self.conv_1(F.silu(self.norm_1(h)))
        return h + (self.shortcut(x) if self.changes else x)


class Unet(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        features, groups, channels = sizes["features"], sizes["groups"], sizes["image"][-1]
        first, last, hidden = features[0], len(features) - 1, 4 * features[0]
        self.levels = range(len(features))
        self.time = Time(first, hidden)
        self.stem = nn.Conv2d(channels, first, 3, padding=1)
        for i, width in enumerate(features):
            before, after = features[max(i - 1, 0)], features[min(i + 1, last)]
            self.add_module(f"down_{i}", ResidualBlock(before, width, hidden, groups))
            self.add_module(f"up_{i}", ResidualBlock(after + width, width, hidden, groups))
            if i < last:
                self.add_module(f"shrink_{i}", nn.Conv2d(width, width, 3, 2, padding=1))
            if i > 0:
                self.add_module(f"grow_{i}", nn.Conv2d(width, width, 3, padding=1))
        self.middle = ResidualBlock(features[-1], features[-1], hidden, groups)
        self.norm = nn.GroupNorm(groups, first)
        self.head = nn.Conv2d(first, channels, 3, padding=1)

    def forward(self, x):
        images, times = x
        part: Any = self.get_submodule
        t = self.time(times)
        h, skips = self.stem(images.permute(0, 3, 1, 2)), []
        for i in self.levels:
            h = part(f"down_{i}")(h, t)
            skips.append(h)
            if i < self.levels[-1]:
                h = part(f"shrink_{i}")(h)
        h = self.middle(h, t)
        for i in reversed(self.levels):
            h = part(f"up_{i}")(torch.cat([h, skips[i]], 1), t)
            if i > 0:
                h = part(f"grow_{i}")(F.interpolate(h, scale_factor=2.0))
        return self.head(F.silu(self.norm(h))).permute(0, 2, 3, 1)
