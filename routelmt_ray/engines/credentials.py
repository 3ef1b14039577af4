"""Reads the secrets of an endpoint from the environment, and removes them from what servers say."""

import os

from routelmt_ray.config.endpoint import EndpointConfig

_LEAST_SECRET = 4
_MOST_TEXT = 400


class Credentials:
    """The secrets of an endpoint, from the environment of this process."""

    def __init__(self, key: str, config: EndpointConfig) -> None:
        """Reads them. Args: key: config key of the model, for messages; config: the endpoint. Raises ValueError if a
        variable is not set."""
        names = {f"headers_env.{header}": name for header, name in config.headers_env.items()}
        if config.api_key_env is not None:
            names["api_key_env"] = config.api_key_env
        values = {where: os.environ.get(name, "").strip() for where, name in names.items()}
        if missing := [where for where, value in values.items() if not value]:
            raise ValueError(
                f"{key}.endpoint.{missing[0]} is {names[missing[0]]!r}, a variable that is not set in the environment of this process; "
                "set it here and on the machines of the engines"
            )
        if broken := [where for where, value in values.items() if not value.isprintable()]:
            raise ValueError(
                f"{key}.endpoint.{broken[0]} is {names[broken[0]]!r}, a variable with a line break or a control character; set it to a "
                "value of one line"
            )
        # The longest first, because one may begin with another.
        self._secrets = sorted((v for v in values.values() if len(v) >= _LEAST_SECRET), key=len, reverse=True)
        self.headers = {header: values[f"headers_env.{header}"] for header in config.headers_env}
        """Headers of each request."""
        if config.api_key_env is not None:
            self.headers["Authorization"] = f"Bearer {values['api_key_env']}"

    def hide(self, text: str) -> str:
        """Removes secrets from a text of a server, and cuts what is then too long."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text[:_MOST_TEXT]
