import pytest


@pytest.fixture
def anyio_backend() -> str:
    """The service runs on asyncio, so the tests do."""
    return "asyncio"
