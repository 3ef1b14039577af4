"""A server on which two writers of one file would both win is refused before anything is written to it."""

import re

import pytest

from routelmt_ray import storage
from routelmt_ray.storage import lease
from tests.s3.proxy import FaultProxy


@pytest.mark.parametrize(
    ("ignored", "named"),
    [
        ({"if-none-match"}, "If-None-Match"),
        ({"if-match"}, "If-Match"),
        ({"if-none-match", "if-match"}, "If-None-Match and If-Match"),
    ],
)
def test_a_server_that_ignores_conditions_is_refused(bucket, proxy: FaultProxy, ignored, named) -> None:
    proxy.ignored = frozenset(ignored)
    words = re.escape(f"{bucket}: this S3 ignores {named} of a put")
    with pytest.raises(storage.AddressRefused, match=words), lease.hold(bucket):
        pytest.fail("a job would have begun")
    proxy.ignored = frozenset()
    assert list(storage.entries(bucket)) == [], "what was tried with is gone"
    assert not [request for request in proxy.seen if "lease.json" in request.target]


def test_a_server_that_keeps_to_them_is_not(bucket, proxy: FaultProxy) -> None:
    with lease.hold(bucket):
        assert storage.list_names(bucket) == ["lease.json"]
    assert len(proxy.seen) <= 9
