"""Tests of the way from a raw video to model input; `site` holds the local servers that they share."""
