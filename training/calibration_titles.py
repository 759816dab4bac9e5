"""Writes the titles that the bundled calibration ids are made from: invented, real-looking, always the same.

    python -m training.calibration_titles models/calibration/titles.txt
    python -m preprocessing.calibration models/calibration/titles.txt models/calibration/token_ids.json

Post-training quantisation learns the range of every activation from a few hundred inputs, so these cover
what a service meets: short and shouting titles, song names, hashtags, emoji, other scripts, titles of five
hundred characters, descriptions that fill all 128 tokens. Lengths follow real ones (13 tokens at the median,
27 at the 99th percentile of US trending videos); only descriptions and a few giants go beyond. All invented.
"""

import sys
from pathlib import Path

import numpy as np

COUNT = 400
SEED = 20171114

WORDS: dict[str, tuple[str, ...]] = {
    "n": ("2", "3", "5", "7", "10", "12", "24", "50", "100", "1,000", "10,000"),
    "year": ("2016", "2017", "2018", "2024"),
    "food": ("pasta", "ramen", "street tacos", "sourdough", "fried rice", "birthday cake", "hot wings"),
    "thing": ("a tiny house", "my first car", "an old laptop", "a paper plane", "a treehouse", "my budget"),
    "place": ("Iceland", "Tokyo", "New Orleans", "the Alps", "my hometown", "Seoul", "Patagonia", "Lisbon"),
    "who": ("my grandma", "strangers", "my best friend", "a chef", "twins", "my dog", "a physicist"),
    "verb": ("tried", "built", "survived", "quit", "cooked", "ranked", "rebuilt", "reviewed", "painted"),
    "topic": ("sleep", "gravity", "inflation", "black holes", "coral reefs", "the human eye", "volcanoes"),
    "game": ("Skybound Saga", "Pixel Kart 4", "Dungeon Diner", "Last Harbor", "Turbo Golf Royale"),
    "team": ("Rovers", "United", "Falcons", "Lions", "Tigers", "Wanderers", "Comets", "Bulls"),
    "artist": ("Mara Vey", "The Low Tides", "DJ Okapi", "Lil Ferrum", "Noor & June", "Atlas Hotel"),
    "song": ("Paper Moons", "Run It Back", "Ocean Floor", "Neon Rain", "Say Less", "Golden Hour Again"),
    "look": ("everyday makeup", "fall outfits", "curly hair routine", "room makeover", "holiday nails"),
    "tech": (
        "the new foldable phone",
        "a $99 laptop",
        "wireless earbuds",
        "this mini drone",
        "smart glasses",
    ),
    "feel": ("insane", "SO satisfying", "not what I expected", "a disaster", "emotional", "hilarious"),
    "emoji": ("😂", "🔥🔥", "😱", "❤️", "🎉", "🤯", "👀", "💪🏽", "🏆", "🍜", "😭😭😭", "✨"),
    "tag": ("#shorts", "#fyp", "#trending", "#ad", "#cooking", "#learnontiktok", "#gaming", "#diy"),
}

# About as often as each kind is met; {name} is drawn from WORDS.
PATTERNS: tuple[tuple[int, str], ...] = (
    (3, "{n} {food} hacks that actually work"),
    (3, "How to make {food} at home | easy recipe"),
    (3, "I {verb} {thing} in {n} days and it was {feel}"),
    (3, "{artist} - {song} (Official Video)"),
    (2, "{artist} - {song} ft. {artist} [Official Lyric Video]"),
    (2, "{artist}: {song} (Live at {place}, {year})"),
    (3, "{team} vs {team} | Full Game Highlights | Week {n}"),
    (2, "{team} {n}-{n} {team} - All Goals & Extended Highlights {year} HD"),
    (3, "Why is {topic} so strange? Explained in {n} minutes"),
    (2, "The science of {topic}"),
    (2, "{game} - Official Reveal Trailer ({year})"),
    (2, "{game} speedrun WORLD RECORD in {n}:07.45"),
    (2, "Unboxing {tech}: worth it?"),
    (2, "{tech} review after {n} months - {feel}!"),
    (2, "GET READY WITH ME: {look} {emoji}"),
    (2, "{look} on a budget {tag} {tag}"),
    (2, "{n} HOURS in {place} with {who} {emoji}"),
    (2, "morning routine"),
    (2, "{who} reacts to {song} {emoji}{emoji}"),
    (2, "WE NEED TO TALK..."),
    (2, "wait for it {emoji} {tag}"),
    (2, "vlog {n}: moving to {place}"),
    (2, "This is {feel}"),
    (2, "10 minute workout, no equipment {emoji}"),
    (2, "Breaking: storm hits {place}, thousands without power"),
    (
        2,
        "Inside {place}'s $100 million {food} market — a documentary by two people who don't eat {food}",
    ),
    (1, "Cómo hacer {food} fácil y rápido en {n} minutos"),
    (1, "Le meilleur {food} de {place} ? On a testé {n} adresses"),
    (1, "Ich habe {n} Tage lang nur {food} gegessen"),
    (1, "{n}分でできる簡単レシピ {food}"),
    (1, "【公式】{song} MV 新曲"),
    (1, "我在{place}住了{n}天，结果…… {emoji}"),
    (1, "{n}일 동안 혼자 여행하기 | 서울 브이로그"),
    (1, "Как приготовить {food} за {n} минут"),
    (1, "घर पर {food} कैसे बनाएं"),
    (1, "{emoji}{emoji}{emoji}"),
    (1, "???"),
    (1, "GOOOOOAL!!! {team} WIN IT IN THE {n}TH MINUTE!!!"),
)

SENTENCES = (
    "Thanks for watching! Subscribe for a new video every {n} days.",
    "Recipe and shopping list below: {n} g flour, {n} eggs, a pinch of salt.",
    "Follow me: https://example.com/{song} | business@example.com",
    "Music: {artist} - {song} (used with permission).",
    "0:00 intro 1:{n} {topic} 4:20 {thing} 9:59 what comes next",
    "Filmed in {place} with {who}, {year}.",
    "We spent {n} hours on this and it was {feel} {emoji}",
    "This video is not sponsored. {tag} {tag} {tag}",
    "Gear: {tech}, a tripod that wobbles and {n} batteries.",
    "Special thanks to {who} and everybody at {game}.",
)


class Titles:
    """Draws titles and descriptions; the same seed draws the same ones."""

    def __init__(self, seed: int = SEED) -> None:
        self._draw = np.random.default_rng(seed)
        weights = np.array([weight for weight, _ in PATTERNS], dtype=np.float64)
        self._often = weights / weights.sum()

    def line(self, index: int) -> str:
        """The text of one video: a title, every ninth with a tab and a description."""
        if index % 81 == 40:  # far beyond what sites allow, and within what the service accepts
            return " ".join(self._title() for _ in range(12))[:500].strip()
        if index % 9 == 4:
            return f"{self._title()}\t{self._description()}"
        return self._title()

    def _title(self) -> str:
        pattern = PATTERNS[int(self._draw.choice(len(PATTERNS), p=self._often))][1]
        title = self._filled(pattern)
        style = self._draw.random()
        if style < 0.08:
            return title.upper()
        if style < 0.16:
            return f"{title} {self._word('emoji')}"
        return title.lower() if style < 0.22 else title

    def _description(self) -> str:
        count = int(self._draw.choice([1, 2, 4, 12], p=[0.3, 0.3, 0.2, 0.2]))
        picked = self._draw.integers(0, len(SENTENCES), count)
        return " ".join(self._filled(SENTENCES[index]) for index in picked)

    def _filled(self, pattern: str) -> str:
        parts = pattern.replace("}", "{").split("{")  # text, name, text, name, ..., text
        return "".join(self._word(part) if odd % 2 else part for odd, part in enumerate(parts))

    def _word(self, name: str) -> str:
        words = WORDS[name]
        return words[int(self._draw.integers(0, len(words)))]


def lines(count: int = COUNT) -> list[str]:
    """One text per line: a title, or a title, a tab and a description. No two are the same."""
    titles = Titles()
    found: dict[str, None] = {}
    while len(found) < count:
        found.setdefault(titles.line(len(found)))
    return list(found)


def main(arguments: list[str]) -> int:
    """Write the file that the only argument names."""
    if len(arguments) != 1:
        print("usage: python -m training.calibration_titles TITLES.txt", file=sys.stderr)
        return 2
    Path(arguments[0]).write_text("\n".join(lines()) + "\n", encoding="utf-8")
    print(f"{arguments[0]}: {COUNT} texts")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
