"""A bidirectional GRU."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import nn

from dnamamba.models.base import Backbone, BackboneOutput, ModelConfig


@dataclass(frozen=True)
class GruConfig(ModelConfig):
    family = "user_gru.GruConfig"

    channels: int
    layers: int = 1
    alphabet: str = "dna"
    vocab_size: int = 8

    width = property(lambda self: self.channels)
    depth = property(lambda self: self.layers)

    def build(self, backend="auto"):
        return Gru(self)


class Gru(Backbone):
    causal = recurrent = False
    max_length = 48

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.padded_vocab_size, config.channels)
        shape = {"input_size": config.channels, "hidden_size": config.channels // 2}
        grus = (nn.GRU(**shape, batch_first=True, bidirectional=True) for _ in range(config.layers))
        self.layers = nn.ModuleList(grus)

    def forward(self, tokens, state=None, *, blocks=None):
        hidden = self.embedding(tokens.int())
        for layer in self.blocks()[:blocks]:
            hidden = hidden + layer(hidden)[0]
        return BackboneOutput(hidden, None)

    def unembed(self, hidden):
        return F.linear(hidden, self.embedding.weight)

    def blocks(self):
        return list(self.layers)
