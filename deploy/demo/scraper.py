"""The scraper's table in its own schema, whose rows are read repeatedly, and our programs that use it."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psycopg
from psycopg import sql

from deploy.demo.invented import Video
from deploy.demo.processes import DemoError

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / "clients"
TABLES = ("schema.sql", "loop.sql")


class Scraper:
    """The tables of `clients/database` in `schema`; `address` is the database's with that schema."""

    def __init__(self, url: str, schema: str) -> None:
        """Create them."""
        self.address = f"{url}?options=-csearch_path%3D{schema}"
        with psycopg.connect(url) as connection:
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
        with psycopg.connect(self.address) as connection:
            for name in TABLES:
                connection.execute((CLIENTS / "database" / name).read_bytes())

    def look(self, videos: Sequence[Video], number: int) -> None:
        """The scraper reads the counts of these videos for the `number`-th time."""
        insert = (
            "INSERT INTO candidates (view_count, like_count, comment_count, scraped_at, created_at, "
            "video_id, title, upload_date, duration_seconds) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"
        )
        update = (
            "UPDATE candidates SET view_count = %s, like_count = %s, comment_count = %s, scraped_at = %s "
            "WHERE video_id = %s"
        )
        rows = []
        for video in videos:
            look = video.looks[number]
            counts = [look.views, look.likes, look.comments, look.moment]
            more = [look.moment, video.name, video.title, video.published_at, video.seconds]
            rows.append(counts + (more if number == 0 else [video.name]))
        with psycopg.connect(self.address) as connection, connection.cursor() as cursor:
            cursor.executemany(update if number else insert, rows)


def run_program(words: Sequence[object], settings: Mapping[str, str]) -> str:
    """Run one of our programs to its end and return what it printed. Raises `DemoError`."""
    done = subprocess.run(  # noqa: S603  a list, no shell
        [sys.executable, *map(str, words)],
        cwd=ROOT,
        env={**os.environ, **settings},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-3:]
        raise DemoError(f"{words[0]} {words[1]} ended with exit code {done.returncode}: {' '.join(last)}")
    return done.stdout
