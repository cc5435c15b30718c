"""What ChatGLM's configuration looks like, in small: names of its own, and no max_position_embeddings."""

from transformers import PretrainedConfig


class TinyGlmConfig(PretrainedConfig):
    model_type = "tiny_glm"

    def __init__(self, padded_vocab_size=400, hidden_size=64, num_layers=2, num_attention_heads=4, seq_length=256, **more):
        self.padded_vocab_size = self.vocab_size = padded_vocab_size
        self.hidden_size = hidden_size
        self.num_layers = self.num_hidden_layers = num_layers
        self.num_attention_heads = num_attention_heads
        self.seq_length = seq_length
        super().__init__(**more)
