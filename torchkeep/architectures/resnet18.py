"""ResNet-18 (He et al. 2016) with the stem for 32 × 32 images: 3 × 3, stride 1, no pooling."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from torchkeep.architectures.classifier import Classifier, Normalise
from torchkeep.image_shape import ImageShape

CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_STD = (0.2470, 0.2435, 0.2616)


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False)


class BasicBlock(nn.Module):
    """Two 3 × 3 convolutions with a shortcut: B inputs H W to B outputs H/stride W/stride."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            _conv(inputs, outputs, stride),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            _conv(outputs, outputs),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride, bias=False),
                nn.BatchNorm2d(outputs),
            )

    def forward(self, hidden: Tensor) -> Tensor:
        total: Tensor = self.residual(hidden) + self.shortcut(hidden)
        return total.relu()


def _stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(BasicBlock(inputs, outputs, stride), BasicBlock(outputs, outputs, 1))


def resnet18(shape: ImageShape, classes: int, *, width: int = 64) -> Classifier:
    """Build it; RGB is normalised as CIFAR-10 is, other channels by mean 0.5, deviation 0.25."""
    rgb = shape.channels == len(CIFAR10_MEAN)
    mean = CIFAR10_MEAN if rgb else (0.5,) * shape.channels
    std = CIFAR10_STD if rgb else (0.25,) * shape.channels
    features = nn.Sequential(
        OrderedDict(
            normalise=Normalise(mean, std),
            stem=nn.Sequential(_conv(shape.channels, width), nn.BatchNorm2d(width), nn.ReLU()),
            layer1=_stage(width, width, stride=1),
            layer2=_stage(width, 2 * width, stride=2),
            layer3=_stage(2 * width, 4 * width, stride=2),
            layer4=_stage(4 * width, 8 * width, stride=2),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
        )
    )
    return Classifier(features, nn.Linear(8 * width, classes), taps=("stem", "layer1", "layer2"))
