"""YouTube's pages and pictures."""

from preprocessing.thumbnails.youtube import picture_of_page, smaller_pictures

ID = "dQw4w9WgXcQ"
PAGES = [
    ("www.youtube.com", f"/watch?v={ID}"),
    ("youtube.com", f"/watch?t=10&v={ID}&list=a"),
    ("m.youtube.com", f"/watch/?v={ID}"),
    ("music.youtube.com", f"/watch?v={ID}"),
    ("youtu.be", f"/{ID}?t=10"),
    ("www.youtube.com", f"/shorts/{ID}"),
    ("www.youtube.com", f"/live/{ID}?feature=share"),
    ("www.youtube-nocookie.com", f"/embed/{ID}"),
    ("youtube-nocookie.com", f"/embed/{ID}/?rel=0"),
    ("gaming.youtube.com", f"/watch?v={ID}"),
    ("m.youtube.com", f"/shorts/{ID}/?feature=share"),
    ("www.youtube.com", f"/watch/{ID}"),
    ("www.youtube.com", f"/v/{ID}?version=3"),
    ("www.youtube.com", f"/e/{ID}"),
    ("www.youtube.com", f"/watch?v={ID}&v=aaaaaaaaaaa"),
    ("youtube.googleapis.com", f"/v/{ID}"),
    ("www.youtu.be", f"/{ID}/"),
    ("www.youtubekids.com", f"/watch?v={ID}"),
]
OTHERS = [
    ("example.com", f"/watch?v={ID}"),
    ("youtube.com.example.com", f"/watch?v={ID}"),
    ("notyoutube.com", f"/watch?v={ID}"),
    ("www.youtube.com", "/watch?v=short"),
    ("www.youtube.com", "/@channel"),
    ("www.youtube.com", f"/shorts/{ID}/../../x"),
    ("youtu.be", "/"),
    ("youtu.be", f"/{ID}/x"),
    ("www.youtube.com", "/playlist?list=PL123"),
    ("www.youtube.com", f"/embed/{ID}x"),
    ("www.youtube.com", f"/oembed?v={ID}"),
    ("i.ytimg.com", f"/vi/{ID}/hqdefault.jpg"),
]


def test_a_page_leads_to_its_picture() -> None:
    """Every video has this picture; other URLs are left alone."""
    assert {picture_of_page(*page) for page in PAGES} == {f"https://i.ytimg.com/vi/{ID}/hqdefault.jpg"}
    assert [page for page in OTHERS if picture_of_page(*page) is not None] == []


def test_smaller_pictures_follow_a_large_one() -> None:
    """In the same format, from the next size down; only on YouTube's own hosts."""
    large = f"/vi/{ID}/maxresdefault.jpg"
    smaller = [f"/vi/{ID}/sddefault.jpg", f"/vi/{ID}/hqdefault.jpg"]
    assert smaller_pictures("i.ytimg.com", large) == smaller
    assert smaller_pictures("i3.ytimg.com", f"{large}?a=b") == smaller
    assert smaller_pictures("img.youtube.com", smaller[0]) == smaller[1:]
    webp = f"/vi_webp/{ID}/sddefault.webp"
    assert smaller_pictures("i.ytimg.com", webp) == [
        f"/vi_webp/{ID}/hqdefault.webp",
        f"/vi/{ID}/hqdefault.jpg",
    ]
    assert smaller_pictures("i.ytimg.com", smaller[1]) == []
    assert smaller_pictures("example.com", large) == []


def test_other_pictures_of_a_video_are_followed_by_its_usual_ones() -> None:
    """Shorts in full height, other frames and signed pictures exist for some videos only."""
    usual = [f"/vi/{ID}/sddefault.jpg", f"/vi/{ID}/hqdefault.jpg"]
    names = (
        "hq720",
        "hq720_2",
        "maxres2",
        "maxresdefault_live",
        "oar2",
        "oardefault",
        "sd1",
        "mqdefault",
        "0",
    )
    asked = {name: smaller_pictures("i9.ytimg.com", f"/vi/{ID}/{name}.jpg?sqp=a&rs=b") for name in names}
    assert asked == dict.fromkeys(names, usual)
    moving = f"/an_webp/{ID}/mqdefault_6s.webp?du=3000&sqp=a"
    assert smaller_pictures("i.ytimg.com", moving) == usual
    assert smaller_pictures("ytimg.googleusercontent.com", f"/vi_lc/{ID}/maxresdefault_pt-BR.jpg") == usual
