"""What can go wrong between a request and its score, without HTTP; `http/problems.py` renders these.

MilesError
├── KeyRequiredError        401  no API key in the request, or an invalid one
├── KeylessError            403  the operation needs an API key, and the service has none
├── NoYouTubeKeyError       403  the service has no key for YouTube
├── UnknownVideoError       404  YouTube has no such video
├── LoadRunningError        409  another model is already being loaded
├── CheckpointRefusedError  422  the new checkpoint cannot be used
├── ModalityRequiredError   422  a modality that the request requires is unavailable
├── RateLimitedError        429  the client has exceeded its rate limit
├── OverloadedError         503  the queue is full
├── NotReadyError           503  the model is loading or has failed
├── EngineFailedError       503  a forward pass failed, or returned a score that is not finite
├── PredictTimeoutError     504  no score before the request's deadline
├── LoadFailedError         500  loading another model failed: too little memory, or an unexpected reason
└── YouTubeError            502  YouTube refused, or did not respond as documented
"""


class MilesError(Exception):
    """The base class: the message is for the client, which may retry after `retry_after_s`."""

    retry_after_s: int | None = None

    def __init__(self, detail: str, retry_after_s: int | None = None) -> None:
        super().__init__(detail)
        if retry_after_s is not None:
            self.retry_after_s = retry_after_s


class KeyRequiredError(MilesError):
    """No API key in the request, or (`invalid`) one that the service does not have."""

    def __init__(self, detail: str, *, invalid: bool = False) -> None:
        super().__init__(detail)
        self.invalid = invalid


class KeylessError(MilesError):
    """The operation needs an API key, and the service has none."""


class LoadRunningError(MilesError):
    """Only one model is loaded at a time."""

    retry_after_s = 5


class CheckpointRefusedError(MilesError):
    """The new checkpoint cannot be used; the current model stays in service."""


class ModalityRequiredError(MilesError):
    """`require` names a modality that is missing or failed."""


class RateLimitedError(MilesError):
    """The client has exceeded its rate limit."""


class OverloadedError(MilesError):
    """The queue is full."""


class NotReadyError(MilesError):
    """The model is loading or has failed."""

    retry_after_s = 5


class PredictTimeoutError(MilesError):
    """The deadline passed before the score was computed."""


class EngineFailedError(MilesError):
    """A forward pass raised, or returned a score that is not finite."""

    retry_after_s = 1


class LoadFailedError(MilesError):
    """Loading failed for a reason other than the checkpoint; the current model stays in service."""


class NoYouTubeKeyError(MilesError):
    """The service has no key for the YouTube Data API."""


class UnknownVideoError(MilesError):
    """YouTube has no public video with this id."""


class YouTubeError(MilesError):
    """YouTube could not be reached, refused, or did not respond as documented."""
