"""The owner's first training: cleaned titles, eighteen columns, no images.

transformers' BERT and tokenizer, scikit-learn's encoder and scalers, plain torch; uses none of our code. Its
state dict has the owner's names and, at full size, the owner's shapes: 110.6 M parameters.
"""

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.preprocessing import LabelEncoder, MinMaxScaler, StandardScaler
from torch import Tensor, nn

import model.torchvision_compat  # noqa: F401  transformers' BERT does not import without it

if TYPE_CHECKING:  # these take seconds, in every process that collects the tests
    from transformers import BertConfig

COLUMNS = [
    *["views", "likes", "comments", "shares", "saves", "engagement_rate", "completion_rate", "like_rate"],
    *[
        "comment_ratio",
        "share_rate",
        "save_rate",
        "upload_hour",
        "is_weekend",
        "duration_sec",
        "title_length",
    ],
    *["has_emoji", "creator_avg_views", "publish_dayofweek"],
]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
SMALL = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 256}


def cleaned(title: str) -> str:
    """A title without addresses, emoji and punctuation, in lower case."""
    title = re.sub(r"[^\w\s#@]", "", re.sub(r"(?:http|www.)\S+", "", title))
    return " ".join(title.lower().split())


class TextEncoder(nn.Module):
    """BERT's pooled output."""

    def __init__(self, config: "BertConfig") -> None:
        from transformers import BertModel

        super().__init__()
        self.bert = BertModel(config)


class FirstNetwork(nn.Module):
    """BERT's 768 and 18 columns -> 1024 -> 256 -> two heads; `shape` makes it smaller."""

    def __init__(self, **shape: int) -> None:
        from transformers import BertConfig

        super().__init__()
        config = BertConfig(**shape)
        self.text_encoder = TextEncoder(config)
        self.fusion = nn.Sequential(
            nn.Linear(config.hidden_size + len(COLUMNS), 1024),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(1024, 256),
            nn.ReLU(),
            nn.Dropout(0.2),
        )
        self.classifier = nn.Linear(256, 2)
        self.regressor = nn.Linear(256, 1)

    def forward(self, tokens: dict[str, Tensor], scalars: Tensor) -> tuple[Tensor, Tensor]:
        text = self.text_encoder.bert(**tokens).pooler_output  # (B, 768)
        fused = self.fusion(torch.cat([text, scalars], dim=1))  # (B, 786) -> (B, 256)
        return self.classifier(fused), self.regressor(fused)


def untrained(seed: int = 3, **shape: int) -> FirstNetwork:
    """Random weights, scaled so that both answers vary enough to reveal a wrong column."""
    torch.manual_seed(seed)
    network = FirstNetwork(**shape).eval()
    with torch.no_grad():
        network.classifier.weight.mul_(10)
        network.regressor.weight.mul_(2)
        network.regressor.bias.fill_(0.5)  # the middle of the min-max range
    return network


def save(network: FirstNetwork, path: Path) -> None:
    """Save the file as the owner's script did."""
    torch.save(
        {
            "model_state_dict": network.state_dict(),
            "config": {"fusion_dim": 1024, "dropout": 0.3},
            "scalar_features": COLUMNS,
            "test_metrics": {"auroc": np.float64(0.5)},
        },
        path,
    )


class FirstPipeline:
    """Scalers fitted on the training CSV, and the network between them."""

    def __init__(self, network: FirstNetwork, training: Path, vocabulary: Path) -> None:
        from transformers import BertTokenizer

        self.network = network
        self.folder = training.parent
        with training.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
        self.rows = rows
        self.days = LabelEncoder().fit([row["publish_dayofweek"] for row in rows])
        self.scaler = StandardScaler().fit(np.stack([self._columns(row) for row in rows]))
        self.bounds = MinMaxScaler().fit([[float(row["view_velocity"])] for row in rows])
        self.tokenizer = BertTokenizer.from_pretrained(vocabulary)

    def _columns(self, row: dict[str, str]) -> list[float]:
        plain = row | {
            "publish_dayofweek": str(self.days.transform([row["publish_dayofweek"]])[0]),
            "is_weekend": str(int(row["is_weekend"] == "True")),
        }
        return [float(plain[name]) for name in COLUMNS]

    @torch.no_grad()
    def score(self, row: dict[str, str], unknown: Sequence[str] = ()) -> tuple[float, float]:
        """P(viral) and views per day of a row; `unknown` columns take the training mean."""
        standard = self.scaler.transform([self._columns(row)])
        standard[0, [COLUMNS.index(name) for name in unknown]] = 0
        tokens = self.tokenizer(
            cleaned(row["title"]), padding="max_length", truncation=True, max_length=128, return_tensors="pt"
        )
        logits, target = self.network(dict(tokens), torch.tensor(standard, dtype=torch.float32))
        assert 0 <= target.item() <= 1, "outside min-max's range there is nothing to compare"
        velocity = self.bounds.inverse_transform([[target.item()]])[0, 0]
        return torch.softmax(logits, dim=1)[0, 1].item(), float(velocity)
