"""What is known of data files that carry no account of themselves."""

# By the file's sha256: what is said of one file must not be said of another.
KNOWN_DATA = {
    "097f5964b5ac79c60cb2eb5353e12cb7595435a9629664a65aec695a2b3adf0a": {
        "name": "Trending YouTube Video Statistics (Kaggle datasnaek/youtube-new), US",
        "licence": "CC0-1.0",
        "population": "videos that were already trending on YouTube in the US, November 2017 to June 2018",
        "note": "Trained on videos that were on YouTube's US trending list, November 2017 to June 2018; its "
        "probabilities do not transfer to ordinary uploads.",
    }
}
UNKNOWN_DATA = {
    "name": "not stated",
    "licence": "not stated",
    "population": None,
    "note": "Trained on data whose origin is not stated.",
}
