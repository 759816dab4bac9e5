"""Makes the demo checkpoint from the committed trained head and full-size encoders.

    ./miles demo-checkpoint [--out models/model_full.pt] [--demo models/demo]

The text encoder is MiniLM grown to BERT-base's shape, a one-time download of 84 MB; the image encoder is
seeded random. Where MiniLM cannot be downloaded, the demo in the folder's `without-text` is made, whose head
does not read titles. The bits are the same every time, which a fingerprint checks. A file at `--out` that is
not a demo is never replaced.
"""

import argparse
import sys
from pathlib import Path

from model.checkpoint.file import DEFAULT_CHECKPOINT, DEMO_DIRECTORY, ENCODER_FOLDER, CheckpointError


def main(arguments: list[str] | None = None) -> int:
    """Make and write the demo; exit status 1 after an error, which is one line on stderr."""
    parser = argparse.ArgumentParser(
        prog="./miles demo-checkpoint",
        usage="%(prog)s [OPTIONS]   (--help lists them)",
        description=(__doc__ or "").split("\n")[0],
    )
    parser.add_argument(
        "--out", type=Path, default=DEFAULT_CHECKPOINT, help="the checkpoint to write (default: %(default)s)"
    )
    parser.add_argument(
        "--demo",
        type=Path,
        default=DEMO_DIRECTORY,
        help="the folder with head and metadata (default: %(default)s)",
    )
    parser.add_argument(
        "--encoder-folder",
        type=Path,
        default=ENCODER_FOLDER,
        help="where MiniLM's weights are, or are downloaded to (default: models/text-encoder)",
    )
    options = parser.parse_args(arguments)
    # Imported here: importing torch takes seconds, and help and usage errors must appear at once.
    from model.demo_checkpoint import make

    try:
        make(options.out, options.demo, options.encoder_folder)
    except CheckpointError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
