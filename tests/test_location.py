"""Laws of locations: a folder or a URI, the latter with its options at its end."""

import pytest

from dexsearch.location import (
    above,
    below,
    holds_a_key,
    is_uri,
    name_of,
    shown,
    why_no_place,
)

S3 = "s3://bucket/a?endpoint_override=10.0.0.9:9000&scheme=http"


@pytest.mark.parametrize("place", ["/shared", "shared", S3, "gs://bucket", "hdfs://host:1/a"])
def test_up_undoes_down(place: str) -> None:
    there = below(place, "ribs", "trials", "0")
    assert above(there, 3) == place
    assert name_of(there) == "0"
    assert is_uri(there) == is_uri(place)


def test_options_stay_at_the_end() -> None:
    assert below(S3, "ribs") == "s3://bucket/a/ribs?endpoint_override=10.0.0.9:9000&scheme=http"


def test_a_question_mark_in_a_folder_is_a_letter() -> None:
    assert below("/a?b", "c") == "/a?b/c"


@pytest.mark.parametrize(
    "uri",
    [
        "s3://ID:SECRET@bucket/a",
        "s3://ID:SEC/RET@bucket/a",
        "s3://bucket/a?access_key=ID&secret_key=SECRET",
        "abfs://:SECRET@account.blob.core.windows.net/a",
        "abfs://container/a?client_secret=SECRET",
        "gs://bucket/a?access_token=SECRET",
        "s3://bucket/a?endpoint_override=ID:SECRET@host:1",
        "s3://bucket/a?endpoint_override=ID:SECRET%40host:1",
        "s3://ID:SEC?RET@bucket",
        "abfss://c@account/x?sig=SECRET",
    ],
)
def test_a_key_is_seen_and_never_shown(uri: str) -> None:
    assert holds_a_key(uri)
    assert "SEC" not in shown(uri)
    assert shown(uri).startswith(uri.partition("//")[0])


@pytest.mark.parametrize("uri", [S3, "gs://anonymous@bucket/a", "hdfs://user@host:8020/a", "/a"])
def test_what_holds_no_key_may_be_used(uri: str) -> None:
    assert not holds_a_key(uri)


@pytest.mark.parametrize(
    "slip",
    ["s3:/KEY:SECRET@b", "S3://KEY:SECRET@b", " s3://KEY:SECRET@b", "s3:KEY:SECRET@b",
     "abfss://c@account/x?sas=SECRET", "s3://b/a?SECRET", "x://me:SECRET@b"],
)  # fmt: skip
def test_a_slip_of_the_finger_does_not_show_a_key(slip: str) -> None:
    assert "SECRET" not in shown(slip)


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("", "never set"),
        ("  ", "never set"),
        ("s3:/bucket/a", "neither a URI"),
        ("s3:bucket/a", "neither a URI"),
        ("server:/export", "neither a URI"),
        (" s3://bucket", "neither a URI"),
        ("S3://bucket", "S3:// is not one of s3://, gs://, hdfs://, file://"),
        ("mock://x/y", "mock:// is not one of"),
        ("abfss://c@account/x", "abfss:// is not one of"),
    ],
)
def test_what_is_neither_a_folder_nor_a_known_uri_is_told(place: str, told: str) -> None:
    assert told in (why_no_place(place) or "")


@pytest.mark.parametrize(
    "place", [S3, "gs://b/a", "hdfs://h:1/a", "file:///a", "a", "./a:/b", "/a:b"]
)
def test_folders_and_known_uris_are_places(place: str) -> None:
    assert why_no_place(place) is None
    assert shown(place) == place
