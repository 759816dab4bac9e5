"""Settings from the environment."""

from ipaddress import ip_network
from pathlib import Path

import pytest

from model.compiled.engine import BATCH_SIZES
from serving.settings import Settings, SettingsError, variable

GUIDE = Path(__file__).parent.parent.parent / "docs" / "settings.md"


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in Settings.model_fields:
        monkeypatch.delenv(variable(field), raising=False)


def test_lists_are_written_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILES_CORS_ORIGINS", "https://a.com, https://b.com")
    monkeypatch.setenv("MILES_THUMBNAIL_TRUSTED_NETWORKS", "127.0.0.0/8,fd00::/8")
    settings = Settings.from_environment()
    assert settings.cors_origins == ("https://a.com", "https://b.com")
    assert settings.thumbnail_trusted_networks == (ip_network("127.0.0.0/8"), ip_network("fd00::/8"))


def test_unusable_value_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    table = [
        ("MILES_PORT", "0"),
        ("MILES_PORT", "http"),
        ("MILES_THREADS", "0"),
        ("MILES_ENGINE", "onnx"),
        ("MILES_REQUEST_TIMEOUT_S", "-1"),
        ("MILES_THUMBNAIL_TRUSTED_NETWORKS", "127.0.0.1/33"),
        ("MILES_THUMBNAIL_ALLOWED_HOSTS", "https://i.ytimg.com/"),
        ("MILES_CHECKPOINT_SHA256", "abc"),
    ]
    failures = []
    for name, value in table:
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            with pytest.raises(SettingsError) as error:
                Settings.from_environment()
        line = str(error.value)
        if name not in line or value not in line or "\n" in line:
            failures.append((name, value, line))
    assert failures == []


def test_unusable_thumbnail_settings_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Headers and the proxy may hold secrets, so their values are hidden."""
    table = [
        (
            "MILES_THUMBNAIL_HEADERS",
            '{"a.example": {"X": "s3cret\\n"}}',
            "characters that HTTP does not allow",
        ),
        ("MILES_THUMBNAIL_HEADERS", '{"a.example": {"Host": "s3cret"}}', "set by the service itself"),
        ("MILES_THUMBNAIL_HEADERS", '{"*.example": {"X": "s3cret"}}', "not a host pattern"),
        ("MILES_THUMBNAIL_PROXY", "ftp://s3cret.example", "expected http://host"),
        ("MILES_THUMBNAIL_PROXY", "http://s3cret.example", "requires MILES_THUMBNAIL_ALLOWED_HOSTS"),
    ]
    failures = []
    for name, value, text in table:
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            with pytest.raises(SettingsError) as error:
                Settings.from_environment()
        line = str(error.value)
        if name not in line or text not in line or "s3cret" in line:
            failures.append((name, value, line))
    assert failures == []


def test_misspelt_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A MILES_ variable that is not a setting is an error that names the nearest setting."""
    monkeypatch.setenv("MILES_PROT", "80")
    with pytest.raises(SettingsError, match=r"MILES_PROT.*MILES_PORT"):
        Settings.from_environment()


def test_default_batch_is_one_that_the_engine_has_prepared() -> None:
    """A larger batch would have a shape that the engine has not warmed up."""
    assert Settings().max_batch_size == max(BATCH_SIZES)


def test_every_setting_is_explained() -> None:
    assert all((field.description or "").endswith(".") for field in Settings.model_fields.values())


def test_every_setting_is_in_docs_settings() -> None:
    guide = GUIDE.read_text()
    missing = [variable(field) for field in Settings.model_fields if f"`{variable(field)}`" not in guide]
    assert missing == []
