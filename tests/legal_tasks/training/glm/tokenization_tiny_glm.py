"""A tokenizer written in Python, as ChatGLM's is: one token per character."""

import json
import os

from transformers import PreTrainedTokenizer


class TinyGlmTokenizer(PreTrainedTokenizer):
    vocab_files_names = {"vocab_file": "vocab.json"}
    model_input_names = ["input_ids", "attention_mask"]

    def __init__(self, vocab_file, **more):
        with open(vocab_file, encoding="utf-8") as file:
            self.numbers = json.load(file)
        self.words = {number: word for word, number in self.numbers.items()}
        super().__init__(**more)

    @property
    def vocab_size(self):
        return len(self.numbers)

    def get_vocab(self):
        return self.numbers | self.added_tokens_encoder

    def _tokenize(self, text, **_):
        return list(text)

    def _convert_token_to_id(self, token):
        return self.numbers.get(token, self.numbers["<unk>"])

    def _convert_id_to_token(self, index):
        return self.words.get(index, "<unk>")

    def convert_tokens_to_string(self, tokens):
        return "".join(tokens)

    def save_vocabulary(self, save_directory, filename_prefix=None):
        path = os.path.join(save_directory, "vocab.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(self.numbers, file, ensure_ascii=False)
        return (path,)
