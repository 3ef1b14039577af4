"""COMET checkpoints with random weights, made on the spot: small, offline, and loaded by the real code."""

from pathlib import Path
from typing import Any

import yaml

TEXTS = ["the house is small", "das Haus ist klein", "la casa es pequeña", "дом маленький", "这个房子很小"]
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def make_encoder(folder: Path) -> Path:
    """An XLM-R configuration of a few thousand parameters with a Unigram tokenizer, without weights."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import XLMRobertaConfig, XLMRobertaTokenizerFast

    # Not trained: the trainer's vocabulary is another one each time, and with it every score.
    words = sorted({"▁" + word for text in TEXTS for word in text.split()})
    letters = sorted({"▁", *map(chr, range(97, 123)), *"".join(TEXTS)} - {" "})
    pieces = (
        [(piece, 0.0) for piece in SPECIAL] + [(word, -4.0) for word in words] + [(letter, -5.0) for letter in letters]
    )
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=SPECIAL.index("<unk>")))
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    ends = [("<s>", tokenizer.token_to_id("<s>")), ("</s>", tokenizer.token_to_id("</s>"))]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=ends
    )
    XLMRobertaTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)
    XLMRobertaConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=130, pad_token_id=1, bos_token_id=0, eos_token_id=2,
        initializer_range=0.5,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def make_checkpoint(folder: Path, kind: str = "regression_metric", seed: int = 0, **options: Any) -> Path:
    """A checkpoint folder: hparams.yaml and checkpoints/model.ckpt.

    Args:
        folder: where.
        kind: class identifier of unbabel-comet.
        seed: of the weights.
        options: further arguments of the class.
    """
    import torch
    from comet.models import str2model

    torch.manual_seed(seed)
    encoder = make_encoder(folder / "encoder")
    arguments: dict[str, Any] = {
        "pretrained_model": str(encoder), "encoder_model": "XLM-RoBERTa", "hidden_sizes": [24],
        "final_activation": "Sigmoid", "load_pretrained_weights": False, "local_files_only": True, **options,
    }  # fmt: skip
    model = str2model[kind](**arguments)
    hparams = {key: value for key, value in dict(model.hparams).items() if not key.startswith("_")}
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "hparams.yaml").write_text(yaml.safe_dump(hparams | {"class_identifier": kind}))
    torch.save(
        {"state_dict": model.state_dict(), "hyper_parameters": hparams, "pytorch-lightning_version": "2.6.6"},
        folder / "checkpoints" / "model.ckpt",
    )
    return folder
