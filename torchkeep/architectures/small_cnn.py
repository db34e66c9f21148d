"""Two strided convolutions and one hidden layer: for small grey images such as MNIST."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from torchkeep.architectures.classifier import Classifier, Normalise
from torchkeep.image_shape import ImageShape


def small_cnn(shape: ImageShape, classes: int, *, width: int = 16, hidden: int = 100) -> Classifier:
    """Build the network of Wong et al. 2020 ("Fast is better than free"), appendix A, for MNIST.

    Height and width must be at least 4.
    """
    side = (shape.height // 2 // 2) * (shape.width // 2 // 2)
    features = nn.Sequential(
        OrderedDict(
            normalise=Normalise([0.1307] * shape.channels, [0.3081] * shape.channels),
            conv1=nn.Conv2d(shape.channels, width, kernel_size=4, stride=2, padding=1),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(width, 2 * width, kernel_size=4, stride=2, padding=1),
            relu2=nn.ReLU(),
            flatten=nn.Flatten(),
            hidden=nn.Linear(2 * width * side, hidden),
            relu3=nn.ReLU(),
        )
    )
    return Classifier(features, nn.Linear(hidden, classes), taps=("relu1", "relu2"))
