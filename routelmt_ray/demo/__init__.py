"""The embedded translators: their grammar, corpus, tokenizer and training."""
