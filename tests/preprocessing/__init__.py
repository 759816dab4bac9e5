"""Tests of the way from a raw video to model input.

`site` holds the local servers, `pictures` the pictures and `hostile_urls` the URLs that several tests share.
"""
