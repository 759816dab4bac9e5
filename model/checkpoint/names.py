"""Weights' names in this network, by those of wrappers and of other attributes. Imports no torch."""

import re

STATE_KEYS = ("model_state_dict", "state_dict", "model", "network", "net", "ema", "ema_state_dict")
BERT = "text_encoder.bert."
FEATURES = "vision_encoder.feature_extractor."
RESNET = "vision_encoder.resnet."
# Prefixes of DataParallel, torch.compile and a Lightning module's attribute.
WRAPPERS = re.compile(r"^(?:module\.|_orig_mod\.|model\.|network\.|net\.)+")
# An encoder that is an attribute of the network itself, or of an attribute with another name.
ATTRIBUTES = (
    (re.compile(r"^(?:text_encoder\.|bert\.)(?=(?:embeddings|encoder|pooler)\.)"), BERT),
    (re.compile(r"^(?:vision_encoder\.|image_encoder\.)?resnet\."), RESNET),
    (re.compile(r"^(?:vision_encoder|image_encoder)\.(?=(?:conv1|bn1|layer[1-4]|fc)\.)"), RESNET),
    (re.compile(r"^image_encoder\."), "vision_encoder."),
)
# torchvision's ResNet attributes and their positions in the Sequential.
RESNET_CHILDREN = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}
# Buffers that older releases of transformers saved; they are computed, not learned.
COMPUTED = (BERT + "embeddings.position_ids", BERT + "embeddings.token_type_ids")


class LayoutError(Exception):
    """Contents in an unknown layout; the message has what was found and what was expected."""


def own_name(name: str) -> str | None:
    """The name of a weight in this network; None for ResNet's ImageNet classifier and for computed buffers.

    Raises `LayoutError`.
    """
    name = WRAPPERS.sub("", name)
    for pattern, prefix in ATTRIBUTES:
        name = pattern.sub(prefix, name)
    if name in COMPUTED:
        return None
    if not name.startswith(RESNET):
        return name
    child, _, rest = name.removeprefix(RESNET).partition(".")
    if child == "fc":
        return None
    if child not in RESNET_CHILDREN:
        raise LayoutError(f"{name} is not part of a ResNet; expected {', '.join(RESNET_CHILDREN)} or fc")
    return f"{FEATURES}{RESNET_CHILDREN[child]}.{rest}"
