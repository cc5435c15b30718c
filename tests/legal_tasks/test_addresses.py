"""Addresses that carry a login are taken apart."""

import pytest

from legal_tasks import addresses, services, tracking


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("https://u:p@h:1/x?y=1", ("https://h:1/x?y=1", "u", "p")),
        ("https://u@h/x", ("https://h/x", "u", "")),
        ("https://a%40b:c%3Ad@h", ("https://h", "a@b", "c:d")),
        ("https://u:p@q@h", ("https://h", "u", "p@q")),
        ("https://h/x@y", ("https://h/x@y", "", "")),
        ("file:///data/a@b", ("file:///data/a@b", "", "")),
        ("", ("", "", "")),
    ],
)
def test_a_login_is_taken_out_of_an_address(address, parts):
    assert addresses.take_login(address) == parts


def test_what_is_no_address_carries_no_login():
    assert not addresses.has_login("a@b") and not addresses.has_login("http://[x@y") and addresses.has_login("s3://k:v@b")


def test_mlflows_password_is_given_to_its_client_and_shown_nowhere(monkeypatch):
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://u:canary@127.0.0.1:9")
    assert tracking.uri() == services.mlflow_url() == services.environment()["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:9"
    assert services.environment()["MLFLOW_TRACKING_PASSWORD"] == "canary"
    with pytest.raises(tracking.TrackingError) as caught:
        tracking.mlflow_client()
    assert "canary" not in str(caught.value) and "127.0.0.1:9" in str(caught.value)
    tracking.log_in()
    import os

    assert (os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"]) == ("u", "canary")
