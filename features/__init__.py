"""The scalar features: numpy in, numpy out; knows nothing of tensors, HTTP or files."""

from features.distribution import Distribution, fit_distributions
from features.registry import (
    MILES_V0,
    MILES_V1,
    REGISTRY,
    Feature,
    UnknownFeatureError,
    compute_features,
    features_named,
)
from features.scaler import FeatureScaler
from features.script import main_script, script_shares
from features.video import Video

__all__ = [
    "MILES_V0",
    "MILES_V1",
    "REGISTRY",
    "Distribution",
    "Feature",
    "FeatureScaler",
    "UnknownFeatureError",
    "Video",
    "compute_features",
    "features_named",
    "fit_distributions",
    "main_script",
    "script_shares",
]
