"""BERT (Devlin et al. 2019, arXiv:1810.04805) with the names of transformers' BertModel.

Written out, because importing transformers takes three times as long as importing torch.
"""

from typing import NamedTuple

from torch import Tensor, arange, nn, zeros
from torch.utils.checkpoint import checkpoint

from model.config import TextConfig

DROPOUT = 0.1
PADDING = 0  # the id of [PAD]


class Encoded(NamedTuple):
    """The last hidden state (B, T, D) and the pooler's output (B, D)."""

    last_hidden_state: Tensor
    pooler_output: Tensor


def _table(rows: int, width: int, padding: int | None = None) -> nn.Embedding:
    """Zeros to load weights into: random initialisation on the meta device would import torch's compiler."""
    return nn.Embedding(rows, width, padding, _weight=zeros(rows, width))


class Embeddings(nn.Module):
    """The sum of a token's word, type and position, normalised."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.word_embeddings = _table(config.vocab_size, config.hidden_size, PADDING)
        self.position_embeddings = _table(config.max_positions, config.hidden_size)
        self.token_type_embeddings = _table(config.token_types, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, input_ids: Tensor, token_type_ids: Tensor, positions: Tensor) -> Tensor:
        """(B, T) ids, types and positions to (B, T, D)."""
        embedded = self.word_embeddings(input_ids) + self.token_type_embeddings(token_type_ids)
        normalised: Tensor = self.LayerNorm(embedded + self.position_embeddings(positions))
        dropped: Tensor = self.dropout(normalised)
        return dropped


class SelfAttention(nn.Module):
    """Scaled dot-product attention of several heads (Vaswani et al. 2017, arXiv:1706.03762)."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.attention_head_size = config.hidden_size // config.heads
        self.query, self.key, self.value = (
            nn.Linear(config.hidden_size, config.hidden_size) for _ in range(3)
        )

    def forward(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, D) tokens and a mask that broadcasts to (B, heads, T, T), True where a token may attend."""
        shape = (*hidden.shape[:-1], -1, self.attention_head_size)
        query, key, value = (
            projection(hidden).view(*shape).transpose(1, 2)
            for projection in (self.query, self.key, self.value)
        )
        attended = nn.functional.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=mask,
            dropout_p=DROPOUT if self.training else 0.0,
            scale=self.attention_head_size**-0.5,
        )
        return attended.transpose(1, 2).contiguous().reshape(*hidden.shape[:-1], -1).contiguous()


class Output(nn.Module):
    """A projection that is added to what came before it, and normalised."""

    def __init__(self, inputs: int, config: TextConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, projected: Tensor, before: Tensor) -> Tensor:
        """(..., inputs) and (..., D) to (..., D)."""
        normalised: Tensor = self.LayerNorm(self.dropout(self.dense(projected)) + before)
        return normalised


class Attention(nn.Module):
    """Attention and its projection."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.self = SelfAttention(config)
        self.output = Output(config.hidden_size, config)

    def forward(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        attended: Tensor = self.output(self.self(hidden, mask), hidden)
        return attended


class Intermediate(nn.Module):
    """The wide part of the feed-forward network."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., D) to (..., intermediate_size)."""
        return nn.functional.gelu(self.dense(hidden))


class Layer(nn.Module):
    """Attention and a feed-forward network."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.intermediate = Intermediate(config)
        self.output = Output(config.intermediate_size, config)

    def forward(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        attended = self.attention(hidden, mask)
        encoded: Tensor = self.output(self.intermediate(attended), attended)
        return encoded


class Encoder(nn.Module):
    """The layers; in training, `saves_memory` computes each twice and keeps the activations of only one."""

    saves_memory = False

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Layer(config) for _ in range(config.layers))

    def forward(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        for layer in self.layer:
            if self.saves_memory and self.training:
                hidden = checkpoint(layer, hidden, mask, use_reentrant=False)
            else:
                hidden = layer(hidden, mask)
        return hidden


class Pooler(nn.Module):
    """A projection of the first token."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.activation = nn.Tanh()

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, D) to (B, D)."""
        pooled: Tensor = self.activation(self.dense(hidden[:, 0]))
        return pooled


class Bert(nn.Module):
    """Embeddings, layers and pooler."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)
        self.pooler = Pooler(config)

    def forward(self, input_ids: Tensor, token_type_ids: Tensor, attention_mask: Tensor) -> Encoded:
        """(B, T) ids, types, and a mask that is 1 for the tokens to attend to."""
        positions = arange(input_ids.shape[1], device=input_ids.device)[None]
        # Without a mask torch uses a faster kernel, which rounds differently.
        mask = None if bool(attention_mask.all()) else attention_mask.bool()[:, None, None, :]
        hidden = self.encoder(self.embeddings(input_ids, token_type_ids, positions), mask)
        return Encoded(hidden, self.pooler(hidden))
