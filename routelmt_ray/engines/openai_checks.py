"""Refuses settings and servers that the engine `openai` cannot use, before Ray starts."""

import logging
import re
from urllib.parse import urlsplit

from routelmt_ray.config.common import ModelConfig
from routelmt_ray.config.endpoint import EndpointConfig
from routelmt_ray.engines import HARMLESS
from routelmt_ray.engines.credentials import Credentials
from routelmt_ray.engines.openai_client import Client
from routelmt_ray.engines.openai_wire import OURS, Fault, FaultKind

log = logging.getLogger(__name__)

_FOREVER = (FaultKind.REFUSED, FaultKind.OTHER_MODEL, FaultKind.ROW)
"""Faults that no waiting ends."""
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HERE = ("localhost", "127.0.0.1", "::1")


def check_openai(key: str, config: ModelConfig, elsewhere: bool = False) -> None:
    """Refuses settings that do not fit an endpoint. `elsewhere` is True where engines run on other machines."""
    endpoint = config.endpoint
    if not endpoint.urls:
        raise ValueError(f"{key}.endpoint.urls is empty; name at least one server, e.g. [http://host:8000/v1]")
    for url in endpoint.urls:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{key}.endpoint.urls has {url!r}; an address begins with http:// or https:// and a host")
    if not endpoint.model:
        raise ValueError(f"{key}.endpoint.model is empty; give the name of the model at the server (GET …/v1/models)")
    for header in endpoint.headers_env:
        if not _TOKEN.fullmatch(header):
            raise ValueError(
                f"{key}.endpoint.headers_env has {header!r}, which is not a valid name of a header; correct it"
            )
    if taken := sorted(OURS & endpoint.extra.keys()):
        raise ValueError(f"{key}.endpoint.extra.{taken[0]} cannot be set: the engine sets it itself; leave it out")
    for name, wanted, why in (
        ("num_beams", 1, "a server decodes greedily here; beams need engine hf"),
        ("dtype", "auto", "the server decides it"),
        ("device", "auto", "the server decides it"),
        ("attention", None, "the server decides it"),
    ):
        if (value := getattr(config, name)) != wanted:
            raise ValueError(f"{key}.{name} is {value!r} with an endpoint; leave it {wanted!r}: {why}")
    if config.pool.gpus:
        raise ValueError(
            f"{key}.pool.gpus is {config.pool.gpus:g} with an endpoint, which needs no GPU here; set it to 0"
        )


def check_service(key: str, config: ModelConfig) -> None:
    """Asks each server of a model once, and refuses an endpoint that would not serve. Raises ValueError if a server
    refuses the address, the key or the request, or has another model; or no server answers."""
    endpoint = config.endpoint
    credentials = Credentials(key, endpoint)
    _warn_plain(key, endpoint, bool(credentials.headers))
    client = Client(endpoint, credentials, (), HARMLESS)
    try:
        faults = client.ask_each()
    finally:
        client.close()
    for url, fault in faults.items():
        if fault.kind in _FOREVER:
            raise ValueError(f"{key}.endpoint: {url}: {fault}; {_advice(fault, endpoint)}")
    out = {url: fault for url, fault in faults.items() if fault.kind in (FaultKind.DOWN, FaultKind.SLOW)}
    if len(out) == len(endpoint.urls):
        url, fault = next(iter(out.items()))
        raise ValueError(
            f"{key}.endpoint.urls: none of {len(endpoint.urls)} answers; {url}: {fault}; start the servers, or correct the addresses"
        )
    for url, fault in out.items():
        log.warning("%s.endpoint: %s: %s; it is left out until it answers", key, url, fault)


def _advice(fault: Fault, endpoint: EndpointConfig) -> str:
    if fault.kind is FaultKind.OTHER_MODEL:
        return "set endpoint.model, or endpoint.served_model if that is the model under another name"
    if endpoint.api == "completions":
        return "compare endpoint.urls, .model and .api_key_env with the server; one without token ids needs endpoint.api=chat"
    return "compare endpoint.urls, .model, .api_key_env and .extra with the server"


def _warn_plain(key: str, endpoint: EndpointConfig, has_secrets: bool) -> None:
    plain = [url for url in endpoint.urls if urlsplit(url).scheme == "http" and urlsplit(url).hostname not in _HERE]
    if plain and has_secrets:
        log.warning(
            "%s.endpoint: the key is sent to %s without encryption; use https where others share the network",
            key,
            plain[0],
        )
