"""Writes the app's OpenAPI document to clients/openapi.json: python -m deploy.openapi."""

import json
from pathlib import Path

from app import create_app
from serving.settings import Settings

PATH = Path(__file__).parent.parent / "clients" / "openapi.json"


def document() -> str:
    """The document as the file holds it, with default settings."""
    return json.dumps(create_app(Settings()).openapi(), indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write the file."""
    PATH.write_text(document(), encoding="utf-8")
    print(PATH.relative_to(Path.cwd()) if PATH.is_relative_to(Path.cwd()) else PATH)


if __name__ == "__main__":
    main()
