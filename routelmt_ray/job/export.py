"""Merges a router into a standard sequence classifier, which plain transformers and vLLM's pooling runner can serve.

    python -m routelmt_ray.job.export --router runs/train_demo/router --base routelmt_ray/demo/models/small --out OUT
    python -m routelmt_ray.job.export … --threshold routers/mine-threshold.json     a file of jobs/threshold.py

The folder has the small model with the adapters merged in, the heads as its classification layer (one label for each
head, no bias, `problem_type` regression), its tokenizer and router.json. Heads that read the mean over the prompt
(`pooling` in router.json) need a server that averages: modules.json and 1_Pooling/config.json tell vLLM so. Plain transformers
reads the last token; there, apply `model.score` to the mean of the states. An output `raw` means
`calibration.scale * raw + calibration.intercept` on the scale of the labels. Do not apply an activation to it. With a
threshold, threshold.json says which rows go to the large model: those where `scale * raw[label] + intercept >= threshold`.

A table of words (words.safetensors) is left out: a model cannot hold it. The exported router.json then has the calibration
and the held-out figures of the heads alone, which are those of the exported model. Such a router has no threshold to
export; train one with `words=false`.
"""

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

import torch

from routelmt_ray import storage
from routelmt_ray.config.common import ModelConfig
from routelmt_ray.config.schema import MEAN
from routelmt_ray.config.translate import RouterConfig
from routelmt_ray.engines.artifact import FORMAT, check_match, load_router
from routelmt_ray.engines.classifier import classifier
from routelmt_ray.engines.tokenizers import load_tokenizer
from routelmt_ray.job.threshold import read_threshold
from routelmt_ray.job.translation import router_identity

log = logging.getLogger(__name__)

DTYPES = ("float32", "bfloat16", "float16")


def export(
    router_path: str, base: ModelConfig, out: Path, dtype: str = "float32", threshold: str | None = None
) -> None:
    """Writes the classifier's folder as a whole; after an error there is no folder.

    Raises ValueError where the folder is no router, the base model is another one, the threshold is another router's, the
    router has a table of words and a threshold, or ``out`` is not empty.
    """
    router = load_router(router_path)
    check_match(router, base.path, base.prompt, base.revision)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"--out {out}: exists already; name a new or empty folder")
    rule = None
    if threshold is not None:
        if router.words is not None:
            raise ValueError(
                f"--threshold {threshold}: the router {router_path} has a table of words, which an exported model cannot hold, "
                "so that its threshold does not fit the exported model; leave --threshold out, or train a router with words=false"
            )
        found = read_threshold("--threshold", threshold, router_identity(RouterConfig(path=router_path)))
        label = router.heads.index("gain")
        line = {"scale": float(router.scale[label]), "intercept": float(router.intercept[label])}
        rule = found.to_dict() | {"label": label} | line
    model = classifier(router, base, getattr(torch, dtype))
    with storage.new_folder(out.absolute()) as folder:
        model.save_pretrained(folder)
        load_tokenizer(base).save_pretrained(folder)
        storage.write_json(folder / "router.json", _without_words(router.spec))
        if router.pooling == MEAN:
            modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
            modules += [{"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]
            storage.write_json(folder / "modules.json", modules)
            width = {"word_embedding_dimension": int(router.weight.shape[1])}
            storage.write_json(folder / "1_Pooling" / "config.json", width | {"pooling_mode_mean_tokens": True})
        if rule is not None:
            storage.write_json(folder / "threshold.json", rule)


def _without_words(spec: dict[str, Any]) -> dict[str, Any]:
    """Returns the content of router.json for the heads without the table of words."""
    if "words" not in spec:
        return spec
    alone = spec["words"]["without"]
    log.warning(
        "the table of words is left out: on held-out rows the exported model has a normalised area of %s, the router %s",
        alone["held_out"]["normalized_area"],
        spec["held_out"]["normalized_area"],
    )
    return {key: value for key, value in spec.items() if key != "words"} | alone | {"format": FORMAT}


def main(argv: list[str] | None = None) -> int:
    """Exports the router that a command line names; returns the exit status, 2 where it refuses."""
    parser = argparse.ArgumentParser(
        prog="python -m routelmt_ray.job.export", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--router", required=True, help="folder of a trained router")
    parser.add_argument("--base", required=True, help="folder or hub id of the small model it was trained on")
    parser.add_argument("--revision", help="hub revision of the base; null means the newest")
    parser.add_argument("--out", required=True, type=Path, help="new folder")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="type of the weights (default float32)")
    parser.add_argument("--threshold", help="file of jobs/threshold.py that the folder carries")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    try:
        prompt = load_router(args.router).spec["prompt"]["family"]
        base = ModelConfig(path=args.base, revision=args.revision, prompt=prompt, device="cpu")
        export(args.router, base, args.out, args.dtype, args.threshold)
    except ValueError as error:
        log.error("refused: %s", error)
        return 2
    print(f"{args.out}: a sequence classifier of the router {args.router}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
