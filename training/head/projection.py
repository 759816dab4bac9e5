"""Projects an encoder's vectors onto their principal components, which are the head's inputs."""

from typing import Self

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Vectors = NDArray[np.float32]
# A component with less of the first one's variance is rounding error.
MIN_VARIANCE_RATIO = 1e-9


class Projection:
    """Weighted principal components, each scaled to variance 1; follows scikit-learn's contract."""

    mean_: FloatArray  # (D,)
    components_: FloatArray  # (D, K), already divided by each direction's standard deviation

    def fit(self, vectors: Vectors, weights: FloatArray, dims: int) -> Self:
        """Learn up to `dims` components from (N, D) vectors with (N,) weights, fewer if the rank is lower."""
        rank = min(vectors.shape[0] - 1, vectors.shape[1])
        if not 0 <= dims <= rank:
            raise ValueError(f"{dims} components of {vectors.shape} vectors; expected 0 to {rank}")
        self.mean_ = np.average(vectors.astype(np.float64), axis=0, weights=weights)
        centred = vectors - self.mean_
        covariance = (centred * weights[:, None]).T @ centred / weights.sum()  # (D, D)
        variances, directions = np.linalg.eigh(covariance)
        order = np.argsort(variances)[::-1][:dims]
        order = order[variances[order] > MIN_VARIANCE_RATIO * variances[-1]]
        self.components_ = directions[:, order] / np.sqrt(np.maximum(variances[order], 1e-12))
        return self

    def transform(self, vectors: Vectors) -> Vectors:
        """(N, D) vectors to (N, K) standardised coordinates."""
        coordinates: Vectors = ((vectors - self.mean_) @ self.components_).astype(np.float32)
        return coordinates

    def relative_noise(self) -> FloatArray:
        """(K,) deviations of the coordinates under noise of equal size in every direction of a vector.

        Their root mean square is 1. An encoder in low precision has such noise, and coordinates with little
        variance suffer most.
        """
        sizes: FloatArray = np.linalg.norm(self.components_, axis=0)
        return sizes / np.sqrt(np.mean(sizes**2)) if len(sizes) else sizes
