"""The zoo: every model exports with a free batch, and known weights and counts fit."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from apps.data.batches import batches
from apps.data.opening import open_data
from apps.models import NAMES
from apps.models.light_segmenter import LightSegmenter
from apps.models.mobilenet_v2 import MobileNetV2
from apps.models.unet import UNet
from apps.models.vit import VisionTransformer
from apps.models.xception import Xception
from edge_mpq.engines.inputs import Recipe
from edge_mpq.errors import ModelError
from edge_mpq.loading import load_model
from tests.shared import shared_file

# Side of the square picture each is tried with; smaller than in use where the model allows it.
SIDES = {"mobilenet_v2": 64, "mobilenet_v2_flame": 64, "resnet18": 64, "resnet50": 64, "vit_tiny": 224}
SIDES |= {"xception_flame": 65}
# Published counts of parameters: the architectures of the papers and of the weights users bring.
PARAMETERS = {
    "cifar_resnet20": 269_722,
    "cifar_resnet32": 464_154,
    "cifar_resnet44": 658_586,
    "cifar_resnet56": 853_018,
    "mobilenet_v2": 3_504_872,
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
}


def tried(name: str) -> torch.Tensor:
    """Three pictures, or for a language model three texts."""
    draw = torch.Generator().manual_seed(0)
    if name.startswith("tiny_"):
        return torch.randint(128, (3, 32), generator=draw)
    side = SIDES.get(name, 32)
    return torch.randn(3, 3, side, side, generator=draw)


@pytest.mark.parametrize("name", NAMES)
def test_it_exports_with_a_free_batch(name):
    model = load_model(name)
    pictures = tried(name)
    dynamic = ({0: torch.export.Dim("batch", min=1)},)
    graph = torch.export.export(model, (pictures[:2],), dynamic_shapes=dynamic).module()
    with torch.no_grad():
        one_by_one = torch.cat([model(pictures[i : i + 1]) for i in range(3)])
        assert one_by_one.shape[0] == 3 and one_by_one.std() > 0
        scale = one_by_one.abs().max().item()
        for together in (model(pictures[:2]), graph(pictures[:2]), graph(pictures), graph(pictures[:1])):
            assert torch.allclose(together, one_by_one[: len(together)], rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("name", PARAMETERS)
def test_it_has_the_published_number_of_parameters(name):
    assert sum(parameter.numel() for parameter in load_model(name).parameters()) == PARAMETERS[name]


def test_resnet_and_mobilenet_use_the_names_of_torchvision():
    resnet = load_model("resnet50").state_dict()
    assert resnet["layer4.0.downsample.0.weight"].shape == (2048, 1024, 1, 1)
    assert resnet["layer1.2.conv3.weight"].shape == (256, 64, 1, 1) and "fc.bias" in resnet and "bn1.weight" in resnet
    assert "layer1.0.downsample.1.running_mean" not in load_model("resnet18").state_dict()
    mobilenet = load_model("mobilenet_v2").state_dict()
    assert mobilenet["features.0.0.weight"].shape == (32, 3, 3, 3)
    assert mobilenet["features.1.conv.0.0.weight"].shape == (32, 1, 3, 3)
    assert mobilenet["features.2.conv.2.weight"].shape == (24, 96, 1, 1)
    assert mobilenet["features.18.1.running_var"].shape == (1280,) and "classifier.1.weight" in mobilenet


def test_sizes_and_widths_are_arguments():
    picture = torch.zeros(1, 3, 32, 32)
    with torch.no_grad():
        assert MobileNetV2(7, width=0.35, small_input=True).eval()(picture).shape == (1, 7)
        assert UNet(3, width=4, depth=2).eval()(torch.zeros(2, 3, 20, 36)).shape == (2, 3, 20, 36)
        assert LightSegmenter(3, (4, 6)).eval()(torch.zeros(2, 3, 20, 36)).shape == (2, 3, 20, 36)
        assert VisionTransformer(16, 8, 32, 1, 2, 5).eval()(picture[..., :16, :16]).shape == (1, 5)
        assert Xception(4, stem=4, widths=(8, 16), head=6).eval()(picture).shape == (1, 4)


def test_a_picture_of_the_wrong_size_is_refused_with_the_right_one():
    with pytest.raises(ModelError, match="32x32 pictures, not 30x28"):
        VisionTransformer()(torch.zeros(1, 3, 28, 30))
    with pytest.raises(ModelError, match="that 16 divides"):
        UNet()(torch.zeros(1, 3, 32, 40))
    with pytest.raises(ModelError, match="that 16 divides"):
        LightSegmenter()(torch.zeros(1, 3, 40, 32))
    with pytest.raises(ModelError, match="divide"):
        VisionTransformer(size=30, patch=4)


def test_naming_the_zoo_imports_no_framework():
    code = "import sys, apps.models; assert not {'torch', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_resnet20_recognizes_photographs():
    model = load_model("cifar_resnet20", str(shared_file("data/resnet20_cifar10.pt")))
    data = open_data(str(shared_file("data/cifar10.npz")))
    right = []
    with torch.no_grad():
        for inputs, labels in batches(data.test, Recipe(32, 32), 250, range(1000)):
            right.append(model(torch.from_numpy(inputs)).argmax(1).numpy() == labels)
    assert np.concatenate(right).mean() > 0.875
