"""Reads the glossary of a translate job, and finds the models whose prompts get its terms."""

import logging

from routelmt_ray.checks.terms import Glossary, read_glossary
from routelmt_ray.config.schema import LARGE, SMALL
from routelmt_ray.config.translate import TranslateConfig
from routelmt_ray.engines.prompts import load_family

log = logging.getLogger(__name__)


def glossary_of(config: TranslateConfig) -> Glossary | None:
    """Reads the glossary of a job; None without one.

    Raises:
        ValueError: the file cannot be used; the message says why.
    """
    return None if config.glossary.path is None else read_glossary(config.glossary.path)


def terms_in_prompts(config: TranslateConfig, glossary: Glossary) -> dict[str, list[str]]:
    """Collects the facts that identify the terms in the prompts of each model: a digest, and the template.

    Models whose prompts have no place for terms are left out, which is logged.
    """
    if not (config.glossary.prompt and glossary.terms):
        return {}
    models = {SMALL: config.models.small, LARGE: config.models.large}
    templates = {
        size: load_family(model.prompt).with_terms if model.kind.has_model else "" for size, model in models.items()
    }
    if without := [f"models.{size}" for size, template in templates.items() if not template]:
        log.info(
            "glossary.path: the terms are counted, but the prompts of %s have no place for them (`with_terms` in a prompt family)",
            " and ".join(without),
        )
    return {size: [glossary.digest, template] for size, template in templates.items() if template}
