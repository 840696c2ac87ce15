"""The zoo: small models for demos, tests and comparisons.  Naming them imports no framework."""

NAMES: dict[str, str] = {
    "cifar_resnet20": "apps.models.cifar_resnet:resnet20",
    "cifar_resnet32": "apps.models.cifar_resnet:resnet32",
    "cifar_resnet44": "apps.models.cifar_resnet:resnet44",
    "cifar_resnet56": "apps.models.cifar_resnet:resnet56",
    "cifar_mobilenet_v2": "apps.models.mobilenet_v2:mobilenet_v2_cifar",
    "cifar_vit": "apps.models.vit:vit_cifar",
    "light_segmenter": "apps.models.light_segmenter:light_segmenter",
    "mobilenet_v2": "apps.models.mobilenet_v2:mobilenet_v2",
    "mobilenet_v2_flame": "apps.models.mobilenet_v2:mobilenet_v2_flame",
    "resnet20_flame": "apps.models.cifar_resnet:resnet20_flame",
    "resnet18": "apps.models.resnet:resnet18",
    "resnet50": "apps.models.resnet:resnet50",
    "tiny_gpt": "apps.models.gpt:tiny_gpt",
    "tiny_moe": "apps.models.moe:tiny_moe",
    "vit_tiny": "apps.models.vit:vit_tiny",
    "unet": "apps.models.unet:unet",
    "xception_flame": "apps.models.xception:xception_flame",
    "xception_small": "apps.models.xception:xception_small",
}
