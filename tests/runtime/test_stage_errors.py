"""What a failed stage says: the error itself, not what Ray puts around it."""

import ray
from ray.data.exceptions import SystemException
from ray.exceptions import ActorDiedError, RayTaskError

from routelmt_ray.runtime.pipelines import _brief

TRACEBACK = (
    "ray::MapWorker(MapBatches(Translate)).__init__() (pid=7, ip=127.0.0.1)\n  File \"x.py\", line 1, in __init__\n    raise\n"
    "routelmt_ray.runtime.engine_host.NotLoaded: an engine (large) did not load: OSError: no such file: a.safetensors"
)  # fmt: skip


def test_an_engine_that_did_not_load_is_told_with_its_reason() -> None:
    cause = RayTaskError("MapWorker.__init__", TRACEBACK, OSError("no such file"))
    died = ActorDiedError(cause)
    died.__cause__ = SystemException()  # as Ray Data raises it
    assert _brief(died) == "NotLoaded: an engine (large) did not load: OSError: no such file: a.safetensors"


def test_the_exception_of_a_stage_is_told_without_what_surrounds_it() -> None:
    wrapped = "ValueError: poison\n\nThe above exception was the direct cause of the following exception:\n\nray::Map()"
    assert _brief(RayTaskError("map", wrapped, ValueError("poison"))) == "ValueError: poison"
    assert _brief(ValueError("first\nlast")) == "ValueError: last"
    assert _brief(ray.exceptions.NodeDiedError("the node is gone")) == "NodeDiedError: the node is gone"
