"""A summary of a training file, for people."""

import math
import sys

from training.data.dataset import SPLITS, Dataset

MAX_DRIFT = 0.05  # between the shares of viral rows


def print_data_summary(dataset: Dataset) -> None:
    """Print the rows read, the rows left out with reasons, and the notes."""
    parts = ", ".join(
        f"{name} {len(dataset.split(name)):,} rows of {len(set(dataset.split(name).video_ids)):,} videos"
        for name in ("train", "val", "test")
    )
    print(f"{dataset.name}: {dataset.rows_in_file:,} rows; {parts}; purged {dataset.purged_rows:,}")
    print(f"split {dataset.split_method}")
    print(*viral_shares(dataset), sep="\n")
    if dataset.bad_rows:
        print(f"left out {len(dataset.bad_rows)} rows that cannot be used")
    for line in [*dataset.bad_rows.lines(), dataset.bad_rows.empty_line(), *dataset.notes]:
        if line:
            print(line)
    sys.stdout.flush()


def viral_shares(dataset: Dataset) -> list[str]:
    """The share of viral rows by split, and what a difference between train and the later splits means."""
    shares = {name: float(dataset.split(name).is_viral.mean()) for name in SPLITS}
    threshold = dataset.viral_threshold
    limit = "" if math.isnan(threshold) else f" (above {threshold:,.0f} views per day)"
    lines = [f"viral{limit}: {', '.join(f'{share:.1%} of {name}' for name, share in shares.items())}"]
    drift = max((shares[name] - shares["train"] for name in ("val", "test")), key=abs)
    if abs(drift) > MAX_DRIFT:
        more = "more" if drift > 0 else "fewer"
        lines.append(
            f"The shares differ by {abs(drift):.1%}: by train's threshold {more} of the held-out videos are "
            "viral. Scores are calibrated on val, so they are too low on average where more videos are viral "
            "than in val, and too high where fewer are. Newer rows, or --half-life-days, bring train closer "
            "to what will be scored."
        )
    return lines
