"""The forms that the owner's file may have, each with its verdict.

Every network is plain torch and transformers; none of our code builds or saves it. `./miles replay` scores a
served form as the service does.
"""

import gzip
import pickle
import tarfile
import warnings
import zipfile
from argparse import Namespace
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.torch
import torch
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import LabelEncoder, MinMaxScaler, QuantileTransformer, StandardScaler
from torch import Tensor, nn

import model.torchvision_compat  # noqa: F401  torchvision does not import without it
from tests.owner.pipeline import COLUMNS, FirstPipeline, TextEncoder

NAME = "model_full.pt"
SHALLOW = {"hidden_size": 128, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
SERVED = "served"
KEYS = {"config": {"fusion_dim": 1024}, "scalar_features": COLUMNS, "test_metrics": {"auroc": 0.5}}


class VisionEncoder(nn.Module):
    """The upstream repository's: ResNet, and its layers in a Sequential, both with the same weights."""

    def __init__(self) -> None:
        from torchvision.models.resnet import BasicBlock, ResNet  # here: it takes seconds wherever collected

        super().__init__()
        self.resnet = ResNet(BasicBlock, [1, 1, 1, 1])
        self.feature_extractor = nn.Sequential(*list(self.resnet.children())[:-1])

    def forward(self, pixels: Tensor) -> Tensor:
        return self.feature_extractor(pixels).flatten(1)


class Network(nn.Module):
    """The upstream repository's MultimodalViralityPredictor, or with `one_layer` its other class."""

    def __init__(
        self,
        *,
        text: bool = True,
        vision: bool = False,
        scalars: int = len(COLUMNS),
        one_layer: bool = False,
        logits: int = 2,
        heads: tuple[str, str] = ("classifier", "regressor"),
        words: int = 30522,
        activation: type[nn.Module] = nn.ReLU,
        tokens: int = 128,
    ) -> None:
        from transformers import BertConfig  # here: it takes seconds wherever tests are collected

        super().__init__()
        torch.manual_seed(3)
        self.text_encoder = TextEncoder(BertConfig(**SHALLOW, vocab_size=words)) if text else None
        self.vision_encoder = VisionEncoder() if vision else None
        width = (SHALLOW["hidden_size"] if text else 0) + (512 if vision else 0) + scalars
        relu, narrow = activation(), 64
        if one_layer:
            self.mlp = nn.Sequential(nn.Linear(width, narrow), relu, nn.Dropout(0.3))
        else:
            layers = (nn.Linear(width, 128), relu, nn.Dropout(0.3), nn.Linear(128, narrow), relu)
            self.fusion = nn.Sequential(*layers, nn.Dropout(0.2))
        self.heads, self.tokens = heads, tokens
        for head, outputs in zip(heads, (logits, 1), strict=True):
            self.add_module(head, nn.Linear(narrow, outputs))
        with torch.no_grad():
            self.get_submodule(heads[0]).weight.mul_(5)
            self.get_submodule(heads[1]).bias.fill_(0.5)
        self.eval()

    def forward(self, tokens: Mapping[str, Tensor], scalars: Tensor) -> tuple[Tensor, Tensor]:
        """P(viral) (B,) and the scaled velocity (B,); the image is blank, as in upstream without an image."""
        parts = []
        if self.text_encoder is not None:
            parts.append(self.text_encoder.bert(**tokens).pooler_output)
        if self.vision_encoder is not None:
            parts.append(self.vision_encoder(torch.zeros(len(scalars), 3, 224, 224)))
        fused = (self.mlp if hasattr(self, "mlp") else self.fusion)(torch.cat([*parts, scalars], dim=1))
        logits, target = (self.get_submodule(head)(fused) for head in self.heads)
        viral = torch.sigmoid(logits)[:, 0] if logits.shape[1] == 1 else torch.softmax(logits, dim=1)[:, 1]
        return viral, target[:, 0]


@dataclass(frozen=True)
class Made:
    """Where a form is written, and the pipeline that has the scalers it may contain."""

    folder: Path
    network: Network
    pipeline: FirstPipeline

    @property
    def path(self) -> Path:
        return self.folder / NAME

    def state(self, prefix: str = "") -> dict[str, Tensor]:
        """The network's weights, with `prefix` before each name."""
        return {prefix + name: tensor for name, tensor in self.network.state_dict().items()}

    def save(self, contents: Any, **options: Any) -> None:
        torch.save(contents, self.path, **options)

    def owners(self, **changes: Any) -> None:
        """The owner's four keys, some of them changed."""
        self.save({"model_state_dict": self.state(), **KEYS} | changes)

    @property
    def scalers(self) -> dict[str, Any]:
        return {
            "scaler": self.pipeline.scaler,
            "velocity_scaler": self.pipeline.bounds,
            "label_encoders": {"publish_dayofweek": self.pipeline.days},
        }


@dataclass(frozen=True)
class Variant:
    """`write` writes the form; `says` is part of the message if it is refused."""

    write: Callable[[Made], Any]
    says: str = ""
    network: dict[str, Any] = field(default_factory=dict)
    has_sidecar: bool = True
    names: tuple[str, ...] = tuple(COLUMNS)
    file: str = NAME

    @property
    def verdict(self) -> str:
        """As in the table of the documentation."""
        return f"refused: {self.says}" if self.says else SERVED


class Optimizer:
    """An object of a trainer's own class."""

    def __init__(self) -> None:
        self.state = {"step": 3}


class Dropouts(NamedTuple):
    """The dropouts of the fusion's two layers."""

    first: float
    second: float


class Weights(OrderedDict[str, Tensor]):
    """A trainer's own class for its weights."""


@dataclass
class Settings:
    """A trainer's own settings."""

    seed: int = 42
    dropouts: Dropouts = field(default_factory=lambda: Dropouts(0.3, 0.2))


def halved(made: Made, kind: torch.dtype) -> None:
    """Save the weights in `kind`; the expected scores are those of the rounded weights in float32."""
    made.network.to(kind)
    made.owners()
    made.network.float()


def without(made: Made, *prefixes: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in made.state().items() if not name.startswith(prefixes)}


def renamed(made: Made, old: str, new: str) -> dict[str, Tensor]:
    return {
        new + name.removeprefix(old) if name.startswith(old) else name: tensor
        for name, tensor in made.state().items()
    }


def tarred(made: Made) -> None:
    made.owners()
    made.path.rename(made.folder / "weights.pt")
    with tarfile.open(made.path, "w") as archive:
        archive.add(made.folder / "weights.pt", "weights.pt")


def zipped(made: Made) -> None:
    made.owners()
    content = made.path.read_bytes()
    with zipfile.ZipFile(made.path, "w") as archive:
        archive.writestr(NAME, content)


def gzipped(made: Made) -> None:
    made.owners()
    made.path.write_bytes(gzip.compress(made.path.read_bytes(), 1))


def quantised(made: Made) -> None:
    with warnings.catch_warnings(action="ignore"):  # deprecated, but such files still exist
        linear = torch.ao.quantization.quantize_dynamic(made.network, {nn.Linear}, dtype=torch.qint8)
    made.save({"model_state_dict": linear.state_dict(), **KEYS})


def scripted(made: Made) -> None:
    with warnings.catch_warnings(action="ignore"):  # deprecated as well
        torch.jit.script(nn.Linear(2, 1)).save(made.path)


SEVENTEEN = tuple(name for name in COLUMNS if name != "creator_avg_views")
NINETEEN = (*COLUMNS, "hashtag_count")
VARIANTS: dict[str, Variant] = {
    "the first trained file: `model_state_dict`, `config`, `scalar_features`, `test_metrics`": Variant(
        lambda made: made.owners()
    ),
    "a bare `state_dict()`": Variant(lambda made: made.save(made.state())),
    '`{"state_dict": ...}`': Variant(lambda made: made.save({"state_dict": made.state()})),
    '`{"model": ...}`': Variant(lambda made: made.save({"model": made.state(), "epoch": 3})),
    '`{"ema": ...}`': Variant(lambda made: made.save({"ema": made.state("module.")})),
    'any other key, the only one with a network (`{"weights": ...}`)': Variant(
        lambda made: made.save({"weights": made.state(), **KEYS})
    ),
    "two networks under other keys": Variant(
        lambda made: made.save({"first": made.state(), "best": made.state()}),
        says="holds weights under first and best",
    ),
    "optimizer, scheduler, epoch and metrics beside the weights (upstream's `best_model.pt`)": Variant(
        lambda made: made.save(
            {
                "epoch": 4,
                "model_state_dict": made.state(),
                "optimizer_state_dict": torch.optim.AdamW(made.network.parameters()).state_dict(),
                "scheduler_state_dict": {"_last_lr": [1e-5]},
                "metrics": {"val_auroc": np.float64(0.8)},
            }
        )
    ),
    "an optimizer object beside the weights": Variant(lambda made: made.owners(optimizer=Optimizer())),
    "DataParallel (`module.`)": Variant(lambda made: made.owners(model_state_dict=made.state("module."))),
    "torch.compile (`_orig_mod.`)": Variant(
        lambda made: made.owners(model_state_dict=made.state("_orig_mod."))
    ),
    "DataParallel around torch.compile (`module._orig_mod.`)": Variant(
        lambda made: made.owners(model_state_dict=made.state("module._orig_mod."))
    ),
    "Lightning (`model.`, hyper-parameters, callbacks)": Variant(
        lambda made: made.save(
            {
                "state_dict": made.state("model."),
                "hyper_parameters": Namespace(lr=1e-3),
                "callbacks": {"EarlyStopping": {"best_score": torch.tensor(0.5)}},
            }
        )
    ),
    "a whole pickled module (`torch.save(model)`)": Variant(lambda made: made.save(made.network)),
    "a pickled module under `model`": Variant(lambda made: made.save({"model": made.network})),
    "a pickled module whose head has another activation": Variant(
        lambda made: made.save({"model": made.network}),
        says="fusion.1 is 'GELU', expected ReLU",
        network={"activation": nn.GELU},
    ),
    "another activation in `config`": Variant(
        lambda made: made.owners(config={"activation": "gelu"}),
        says="config.activation is 'gelu', expected ReLU",
        network={"activation": nn.GELU},
    ),
    "a limit of tokens in `config` (`max_length`)": Variant(
        lambda made: made.owners(config={"max_length": 8}), network={"tokens": 8}
    ),
    "StandardScaler, MinMaxScaler and LabelEncoder inside, no sidecar": Variant(
        lambda made: made.owners(**made.scalers), has_sidecar=False
    ),
    "the same, pickled with protocol 5": Variant(
        lambda made: made.save({"model_state_dict": made.state(), **KEYS, **made.scalers}, pickle_protocol=5),
        has_sidecar=False,
    ),
    "a Pipeline of scalers inside, no sidecar": Variant(
        lambda made: made.owners(**made.scalers | {"scaler": Pipeline([("scale", made.pipeline.scaler)])}),
        has_sidecar=False,
    ),
    "two scalers that differ inside, no sidecar": Variant(
        lambda made: made.owners(**made.scalers, old_scaler=StandardScaler().fit(np.eye(18))),
        says="scaler and old_scaler both give feature_stats",
        has_sidecar=False,
    ),
    "a LabelEncoder of weekdays in another language inside, no sidecar": Variant(
        lambda made: made.owners(**made.scalers | {"publish_dayofweek": LabelEncoder().fit(["Lundi"])}),
        says="publish_dayofweek is not an encoder of English weekday names",
        has_sidecar=False,
    ),
    "a scaler inside that is not read (QuantileTransformer in a Pipeline), no sidecar": Variant(
        lambda made: made.owners(scaler=make_pipeline(QuantileTransformer())),
        says="scaler is a sklearn.pipeline.Pipeline",
        has_sidecar=False,
    ),
    "no statistics and no sidecar": Variant(
        lambda made: made.owners(), says="lacks feature_stats, velocity", has_sidecar=False
    ),
    "paths, dates, namespaces, NumPy scalars and dtypes in `config`": Variant(
        lambda made: made.owners(
            config=Namespace(data=Path("/data"), when=datetime(2025, 6, 2, tzinfo=UTC)),
            test_metrics={"auroc": np.float32(0.5), "dtype": np.dtype("float32"), "n": defaultdict(int, a=1)},
        )
    ),
    "a dataclass or a NamedTuple as `config`": Variant(lambda made: made.owners(config=Settings())),
    "a class derived from OrderedDict": Variant(
        lambda made: made.owners(model_state_dict=Weights(made.state()))
    ),
    "NumPy arrays as weights": Variant(
        lambda made: made.owners(model_state_dict={name: t.numpy() for name, t in made.state().items()})
    ),
    "half precision": Variant(lambda made: halved(made, torch.float16)),
    "bfloat16": Variant(lambda made: halved(made, torch.bfloat16)),
    "double precision": Variant(
        lambda made: made.owners(model_state_dict={name: t.double() for name, t in made.state().items()})
    ),
    "`.pth` in torch's format before zips": Variant(
        lambda made: made.save(
            {"model_state_dict": made.state(), **KEYS}, _use_new_zipfile_serialization=False
        )
    ),
    "a safetensors file": Variant(lambda made: safetensors.torch.save_file(made.state(), made.path)),
    "`position_ids` of an old transformers": Variant(
        lambda made: made.owners(
            model_state_dict=made.state()
            | {"text_encoder.bert.embeddings.position_ids": torch.arange(512)[None]}
        )
    ),
    "BERT as `bert.*` or `text_encoder.*`": Variant(
        lambda made: made.owners(model_state_dict=renamed(made, "text_encoder.bert.", "bert."))
    ),
    "text and images, ResNet under two names": Variant(lambda made: made.owners(), network={"vision": True}),
    "text and images, ResNet as `image_encoder.*`": Variant(
        lambda made: made.owners(
            model_state_dict={
                name.replace("vision_encoder.resnet.", "image_encoder."): tensor
                for name, tensor in without(made, "vision_encoder.feature_extractor.").items()
            }
        ),
        network={"vision": True},
    ),
    "scalars only (`use_text=False, use_vision=False`)": Variant(
        lambda made: made.owners(), network={"text": False}
    ),
    "images and scalars (`use_text=False`)": Variant(
        lambda made: made.owners(), network={"text": False, "vision": True}
    ),
    "upstream's `TextOnlyViralityPredictor` (`mlp.*`, one layer)": Variant(
        lambda made: made.owners(), network={"one_layer": True}
    ),
    "one logit for a sigmoid instead of two": Variant(lambda made: made.owners(), network={"logits": 1}),
    "heads of other names (`viral_head`, `velocity_head`)": Variant(
        lambda made: made.owners(), network={"heads": ("viral_head", "velocity_head")}
    ),
    "17 of the 18 columns": Variant(
        lambda made: made.owners(scalar_features=list(SEVENTEEN)), network={"scalars": 17}, names=SEVENTEEN
    ),
    "a 19th column that is not among the service's features": Variant(
        lambda made: made.owners(
            scalar_features=list(NINETEEN),
            scaler=StandardScaler().fit(np.eye(19)),
            bounds=MinMaxScaler().fit([[0], [9]]),
        ),
        says="hashtag_count",
        network={"scalars": 19},
        names=NINETEEN,
        has_sidecar=False,
    ),
    "17 columns that are not listed": Variant(
        lambda made: made.owners(scalar_features=None),
        says="scalar_features lists 18 features, the fusion takes 17",
        network={"scalars": 17},
    ),
    "only one head": Variant(
        lambda made: made.owners(model_state_dict=without(made, "regressor.")),
        says="lacks regressor.bias, regressor.weight",
    ),
    "one logit and heads of other names": Variant(
        lambda made: made.owners(),
        says="lacks classifier.bias, classifier.weight",
        network={"logits": 1, "heads": ("viral_head", "velocity_head")},
    ),
    "the head without its encoder": Variant(
        lambda made: made.owners(model_state_dict=without(made, "text_encoder.")),
        says="the file has no text and image encoder",
    ),
    "another text encoder (upstream's LSTM)": Variant(
        lambda made: made.owners(
            model_state_dict=without(made, "text_encoder.")
            | {"text_encoder.embedding.weight": torch.ones(9, 4)}
        ),
        says="lacks text_encoder.bert.embeddings.word_embeddings.weight",
    ),
    "BERT with a vocabulary of its own (31,102 words)": Variant(
        lambda made: made.owners(), says="embeds 31102 words", network={"words": 31102}
    ),
    "a vocabulary padded to a round number (30,528)": Variant(
        lambda made: made.owners(), network={"words": 30528}
    ),
    "BERT without its pooler": Variant(
        lambda made: made.owners(model_state_dict=without(made, "text_encoder.bert.pooler.")),
        says="lacks text_encoder.bert.pooler.dense.bias",
    ),
    "a fusion without dropout (`fusion.2` for `fusion.3`)": Variant(
        lambda made: made.owners(
            model_state_dict={name.replace("fusion.3.", "fusion.2."): t for name, t in made.state().items()}
        ),
        says="lacks fusion.3.weight",
    ),
    "batch norm in the fusion": Variant(
        lambda made: made.owners(model_state_dict=made.state() | {"fusion.1.weight": torch.ones(128)}),
        says="holds unknown weights: fusion.1.weight",
    ),
    "dynamically quantised": Variant(quantised, says="holds no state dict"),
    "a TorchScript archive": Variant(scripted, says="is a TorchScript archive"),
    "an ONNX graph": Variant(
        lambda made: made.path.write_bytes(b"\x08\x0a\x12\x07pytorch\x1a\x062.13.0:\x00"),
        says="is an ONNX graph",
    ),
    "a Hugging Face folder": Variant(
        lambda made: made.network.text_encoder.bert.save_pretrained(made.path),
        says="is a directory, a Hugging Face model",
    ),
    "a tar archive": Variant(tarred, says="is a tar archive"),
    "packed into a zip archive": Variant(zipped, says="is a zip archive of model_full.pt"),
    "compressed by gzip": Variant(gzipped, says="is compressed by gzip"),
    "`pickle.dump` or joblib instead of `torch.save`": Variant(
        lambda made: made.path.write_bytes(pickle.dumps(made.state())),
        says="is not a torch.save file but another pickle",
    ),
}


def table() -> str:
    """The table of docs/own-checkpoint.md."""
    rows = [f"| {form} | {variant.verdict} |" for form, variant in VARIANTS.items()]
    return "\n".join(["| the file | verdict |", "| --- | --- |", *rows])
