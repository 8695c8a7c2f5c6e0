"""The backbones tfcells knows, one row each. No Keras here: a row names a builder, `open` calls it."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Final

from tfcells.errors import UnknownNameError


@dataclass(frozen=True)
class Preprocessing:
    """What the weights were trained to see: `pixels[..., channel_order] * scale + offset`, pixels in [0, 255].

    Attributes:
        channel_order: `rgb` or `bgr`.
        scale: Factor per channel, after reordering.
        offset: Summand per channel, after reordering.
    """

    channel_order: str
    scale: tuple[float, float, float]
    offset: tuple[float, float, float]


_STD = (0.229, 0.224, 0.225)
_MEAN = (0.485, 0.456, 0.406)
# The three conventions of keras.applications, and models that hold their preprocessing inside already.
_SIGNED_UNIT: Final = Preprocessing("rgb", (1 / 127.5,) * 3, (-1.0,) * 3)
_CAFFE: Final = Preprocessing("bgr", (1.0,) * 3, (-103.939, -116.779, -123.68))
_TORCH: Final = Preprocessing(
    "rgb",
    (1 / 255 / _STD[0], 1 / 255 / _STD[1], 1 / 255 / _STD[2]),
    (-_MEAN[0] / _STD[0], -_MEAN[1] / _STD[1], -_MEAN[2] / _STD[2]),
)
_INSIDE: Final = Preprocessing("rgb", (1.0,) * 3, (0.0,) * 3)


@dataclass(frozen=True)
class Backbone:
    """One row of the catalog.

    Attributes:
        name: Snake case of the builder in `keras.applications`.
        builder: The builder's name.
        module: The submodule of `keras.applications` that holds its `preprocess_input`.
        preprocessing: What the network is fed.
        size: Default side of the square input, in pixels.
        early, middle, late: Default taps: about 1/8, 1/16 and 1/32 of the input's side (where the network
            has them), each the last activation at its resolution.
        kernel: Resize kernel; `bilinear` is a triangle, widened when shrinking (antialiased).
    """

    name: str
    builder: str
    module: str
    preprocessing: Preprocessing
    size: int
    early: str
    middle: str
    late: str
    kernel: str = "bilinear"

    @property
    def taps(self) -> tuple[str, str, str]:
        """The default taps, from early to late."""
        return (self.early, self.middle, self.late)

    def preprocessing_digest(self, size: int | None = None) -> str:
        """SHA-256 over everything that stands between canonical pixels and the first layer."""
        facts = {**asdict(self.preprocessing), "kernel": self.kernel, "size": self.size if size is None else size}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


_ROWS = (
    Backbone("convnext_tiny", "ConvNeXtTiny", "convnext", _INSIDE, 224,
             "add_5", "add_14", "layer_normalization"),  # the sums that end stages 1 and 2
    Backbone("convnext_small", "ConvNeXtSmall", "convnext", _INSIDE, 224,
             "add_5", "add_32", "layer_normalization"),
    Backbone("densenet121", "DenseNet121", "densenet", _TORCH, 224, "pool3_relu", "pool4_relu", "relu"),
    Backbone("densenet169", "DenseNet169", "densenet", _TORCH, 224, "pool3_relu", "pool4_relu", "relu"),
    Backbone("densenet201", "DenseNet201", "densenet", _TORCH, 224, "pool3_relu", "pool4_relu", "relu"),
    Backbone("efficientnet_b0", "EfficientNetB0", "efficientnet", _INSIDE, 224,
             "block3b_add", "block5c_add", "top_activation"),
    Backbone("efficientnet_v2_b0", "EfficientNetV2B0", "efficientnet_v2", _INSIDE, 224,
             "block3b_add", "block5e_add", "top_activation"),
    Backbone("efficientnet_v2_s", "EfficientNetV2S", "efficientnet_v2", _INSIDE, 384,
             "block3d_add", "block5i_add", "top_activation"),
    Backbone("inception_resnet_v2", "InceptionResNetV2", "inception_resnet_v2", _SIGNED_UNIT, 299,
             "block35_10_ac", "block17_20_ac", "conv_7b_ac"),
    Backbone("inception_v3", "InceptionV3", "inception_v3", _SIGNED_UNIT, 299, "mixed2", "mixed7", "mixed10"),
    Backbone("mobilenet", "MobileNet", "mobilenet", _SIGNED_UNIT, 224,
             "conv_pw_5_relu", "conv_pw_11_relu", "conv_pw_13_relu"),
    Backbone("mobilenet_v2", "MobileNetV2", "mobilenet_v2", _SIGNED_UNIT, 224,
             "block_6_expand_relu", "block_13_expand_relu", "out_relu"),
    Backbone("mobilenet_v3_large", "MobileNetV3Large", "mobilenet_v3", _INSIDE, 224,
             "expanded_conv_5_add", "expanded_conv_11_add", "activation_19"),
    Backbone("mobilenet_v3_small", "MobileNetV3Small", "mobilenet_v3", _INSIDE, 224,
             "expanded_conv_2_add", "expanded_conv_7_add", "activation_17"),
    Backbone("nasnet_mobile", "NASNetMobile", "nasnet", _SIGNED_UNIT, 224,
             "normal_concat_3", "normal_concat_8", "activation_187"),
    Backbone("resnet101_v2", "ResNet101V2", "resnet_v2", _SIGNED_UNIT, 224,
             "conv3_block3_out", "conv4_block22_out", "post_relu"),
    Backbone("resnet50", "ResNet50", "resnet", _CAFFE, 224,
             "conv3_block4_out", "conv4_block6_out", "conv5_block3_out"),
    Backbone("resnet50_v2", "ResNet50V2", "resnet_v2", _SIGNED_UNIT, 224,
             "conv3_block3_out", "conv4_block5_out", "post_relu"),
    Backbone("vgg16", "VGG16", "vgg16", _CAFFE, 224, "block3_pool", "block4_pool", "block5_pool"),
    Backbone("vgg19", "VGG19", "vgg19", _CAFFE, 224, "block3_pool", "block4_pool", "block5_pool"),
    Backbone("xception", "Xception", "xception", _SIGNED_UNIT, 299,
             "block4_sepconv1_act", "block13_sepconv1_act", "block14_sepconv2_act"),
)  # fmt: skip

BACKBONES: Final = {row.name: row for row in _ROWS}
"""The catalog, by name."""


def find_backbone(name: str) -> Backbone:
    """Return a row of the catalog, or raise `UnknownNameError` with a suggestion."""
    if name not in BACKBONES:
        raise UnknownNameError("backbone", name, BACKBONES)
    return BACKBONES[name]
