"""A tiny decoder with ChatGLM's ways: one matrix for q, k, v, hidden states (tokens, rows, width), no named output layer."""

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from .configuration_tiny_glm import TinyGlmConfig


@torch.jit.script
def squared(x: torch.Tensor) -> torch.Tensor:
    return torch.relu(x) * torch.relu(x)


class SelfAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads = config.num_attention_heads
        self.query_key_value = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.dense = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(self, states):
        tokens, rows, width = states.shape
        query, key, value = (
            each.reshape(tokens, rows, self.heads, -1).permute(1, 2, 0, 3) for each in self.query_key_value(states).chunk(3, -1)
        )
        seen = scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.dense(seen.permute(2, 0, 1, 3).reshape(tokens, rows, width))


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.input_layernorm = nn.LayerNorm(config.hidden_size)
        self.self_attention = SelfAttention(config)
        self.post_attention_layernorm = nn.LayerNorm(config.hidden_size)
        self.dense_h_to_4h = nn.Linear(config.hidden_size, 4 * config.hidden_size, bias=False)
        self.dense_4h_to_h = nn.Linear(4 * config.hidden_size, config.hidden_size, bias=False)

    def forward(self, states):
        states = states + self.self_attention(self.input_layernorm(states))
        return states + self.dense_4h_to_h(squared(self.dense_h_to_4h(self.post_attention_layernorm(states))))


class TinyGlmModel(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embedding = nn.Embedding(config.padded_vocab_size, config.hidden_size)
        self.positions = nn.Embedding(config.seq_length, config.hidden_size)
        self.layers = nn.ModuleList([Block(config) for _ in range(config.num_layers)])
        self.final_layernorm = nn.LayerNorm(config.hidden_size)
        self.output_layer = nn.Linear(config.hidden_size, config.padded_vocab_size, bias=False)

    def get_input_embeddings(self):
        return self.embedding

    def set_input_embeddings(self, value):
        self.embedding = value

    def forward(self, input_ids, position_ids=None, **_):
        if position_ids is None:
            position_ids = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
        states = (self.embedding(input_ids) + self.positions(position_ids)).transpose(0, 1)
        for layer in self.layers:
            states = layer(states)
        return BaseModelOutputWithPast(last_hidden_state=self.final_layernorm(states))


class TinyGlmForConditionalGeneration(PreTrainedModel, GenerationMixin):
    config_class = TinyGlmConfig
    base_model_prefix = "transformer"

    def __init__(self, config):
        super().__init__(config)
        self.transformer = TinyGlmModel(config)
        self.post_init()

    def _init_weights(self, module):
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)

    def prepare_inputs_for_generation(self, input_ids, attention_mask=None, **_):
        return {"input_ids": input_ids}

    def forward(self, input_ids=None, position_ids=None, attention_mask=None, **_):
        states = self.transformer(input_ids, position_ids).last_hidden_state
        return CausalLMOutputWithPast(logits=self.transformer.output_layer(states).transpose(0, 1).contiguous())
