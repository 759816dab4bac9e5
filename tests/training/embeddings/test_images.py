"""Thumbnails from files and URLs: the good ones are encoded, the others reported and treated as missing."""

from dataclasses import replace
from ipaddress import ip_network

import numpy as np
import pytest

from model.torch_engine import TorchEngine
from preprocessing.image import ImageSpec
from preprocessing.pixels import decode_image
from preprocessing.thumbnails.policy import ThumbnailPolicy
from tests.support.thumbnail_host import picture, thumbnail_host
from tests.training.synthetic import RECIPE, SEED, dataset, encoders
from training.data.dataset import DatasetError
from training.embeddings.images import encode_thumbnails
from training.embeddings.thumbnails import Pictures, ThumbnailSource
from training.head.fit import untrained_checkpoint

LOOPBACK = ThumbnailPolicy(timeout_s=5.0, trusted_networks=(ip_network("127.0.0.0/8"),))


@pytest.fixture(scope="module")
def base():
    return untrained_checkpoint(encoders(), dataset(), RECIPE, SEED)


@pytest.fixture
def folder(tmp_path):
    """Three good pictures of three kinds, a damaged one, and one that belongs to no video."""
    for number, kind in enumerate(("JPEG", "PNG", "WEBP")):
        suffix = {"JPEG": "jpg"}.get(kind, kind.lower())
        (tmp_path / f"train-{number}.{suffix}").write_bytes(picture(number, image_format=kind))
    (tmp_path / "val-0.jpg").write_bytes(picture(4)[:200])
    (tmp_path / "nobody.jpg").write_bytes(picture(5))
    return tmp_path


def with_urls(urls):
    """The synthetic rows, the first train rows with these URLs."""
    train = dataset().train
    train = replace(train, thumbnail_urls=[*urls, *[None] * (len(train) - len(urls))])
    return replace(dataset(), train=train)


def test_files_are_found_by_video_and_encoded_as_served(base, folder):
    """Every snapshot of a video gets its picture's vector, decoded as the service does."""
    engine = TorchEngine(base)
    found = encode_thumbnails(engine, base, dataset(), ThumbnailSource(folder))
    ids = dataset().train.video_ids
    known = found.known(dataset().train)
    assert {name for name, has in zip(ids, known, strict=True) if has} == {"train-0", "train-1", "train-2"}
    row = ids.index("train-2")
    pixels = decode_image((folder / "train-2.webp").read_bytes(), ImageSpec(64, 64))
    expected = engine.encode_image(pixels[None])[0]
    np.testing.assert_allclose(found.of(dataset().train)[row], expected, atol=1e-4)
    np.testing.assert_array_equal(found.of(dataset().train)[ids.index("train-3")], engine.neutral_image)


def test_a_damaged_file_is_reported_and_counts_as_missing(base, folder):
    """Its row takes the neutral image, and the report says how many and which."""
    found = encode_thumbnails(TorchEngine(base), base, dataset(), ThumbnailSource(folder))
    assert found.counts(dataset())["val"]["truncated"] == dataset().val.video_ids.count("val-0")
    lines = "\n".join(found.problem_lines())
    assert "truncated: 1 thumbnails, treated as missing" in lines
    assert "val-0.jpg: truncated: " in lines
    assert not found.known(dataset().val).any()


def test_a_folder_that_is_not_there_is_one_error(base, tmp_path):
    with pytest.raises(DatasetError, match=r"none: cannot be read .*VIDEO_ID\.jpg"):
        encode_thumbnails(TorchEngine(base), base, dataset(), ThumbnailSource(tmp_path / "none"))


def test_urls_are_fetched_by_the_services_own_fetcher(base):
    """Good ones are encoded; a page, a 404 and a private address are reported with their reasons."""
    with thumbnail_host() as host:
        urls = [host.thumbnail(1), host.thumbnail(2), f"{host.url}/missing.jpg", f"{host.url}/page.html"]
        data = with_urls([*urls, "http://10.0.0.1/x.jpg", "ftp://example.com/x.jpg"])
        found = encode_thumbnails(TorchEngine(base), base, data, ThumbnailSource(policy=LOOPBACK))
    assert found.known(data.train)[:6].tolist() == [True, True, False, False, False, False]
    states = found.counts(data)["train"]
    assert {"used": 2, "unsupported_format": 1, "http_404": 1}.items() <= states.items()
    assert states["forbidden"] == 2
    assert sum(states.values()) == len(data.train)


def test_what_was_fetched_is_not_fetched_again(base, tmp_path):
    """A second run requests only what had failed."""
    with thumbnail_host() as host:
        data = with_urls([host.thumbnail(1), host.thumbnail(2), f"{host.url}/missing.jpg"])
        runs = []
        for _ in range(2):
            source = ThumbnailSource(policy=LOOPBACK)
            runs.append(encode_thumbnails(TorchEngine(base), base, data, source, tmp_path).of(data.train))
            asked, host.asked[:] = sorted(host.asked), []
        assert asked == ["/missing.jpg"]
    np.testing.assert_array_equal(*runs)


def test_rows_without_thumbnails_have_no_images(base):
    assert encode_thumbnails(TorchEngine(base), base, dataset(), ThumbnailSource()) is None


def test_pictures_to_train_on_are_downloaded_once(tmp_path):
    """Pixels are those of the service's decoder; a 404 gives no picture; files are kept in the cache."""
    spec = ImageSpec(32, 32)
    with thumbnail_host() as host:
        data = with_urls([host.thumbnail(1), f"{host.url}/missing.jpg", None, host.thumbnail(2)])
        source = ThumbnailSource(policy=LOOPBACK)
        with Pictures(source, spec, tmp_path).opened(data) as pictures:
            pixels, known = pictures.of(data.train, [3, 0, 1, 2])
        asked = len(host.asked)
        with Pictures(source, spec, tmp_path).opened(data) as again:
            assert len(again) == 2
        assert host.asked[asked:] == ["/missing.jpg"]
    assert known.tolist() == [True, True, False, False]
    np.testing.assert_array_equal(pixels[1], decode_image(picture(1), spec))
    assert not pixels[2:].any()
    with pytest.raises(DatasetError, match="needs a cache"):
        Pictures(source, spec, None)
