"""The demo translators that come with the package: their grammar, corpus, tokenizer and training."""
