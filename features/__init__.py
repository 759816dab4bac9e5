"""The scalar features: numpy in, numpy out; knows nothing of tensors, HTTP or files."""

from features.distribution import Distribution, fit_distributions
from features.feature import Feature, Group
from features.registry import (
    MILES_V0,
    MILES_V1,
    MILES_V2,
    OPTIONAL,
    REGISTRY,
    UnknownFeatureError,
    compute_features,
    features_named,
    groups_of,
)
from features.scaler import FeatureScaler
from features.video import Video

__all__ = [
    "MILES_V0",
    "MILES_V1",
    "MILES_V2",
    "OPTIONAL",
    "REGISTRY",
    "Distribution",
    "Feature",
    "FeatureScaler",
    "Group",
    "UnknownFeatureError",
    "Video",
    "compute_features",
    "features_named",
    "fit_distributions",
    "groups_of",
]
