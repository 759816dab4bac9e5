"""Up to four versions of a video that is not published yet: which wins, and when there is no basis."""

import base64
import io
import itertools

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests.page.conftest import Open, rounded
from tests.support.browser import PHONE, Visit
from tests.support.thumbnail_host import picture


def drop(where: Locator, *files: tuple[str, str, bytes]) -> None:
    """Drop files, (name, media type, content), as a person would from their disk."""
    transfer = where.page.evaluate_handle(
        """files => {
            const carried = new DataTransfer();
            for (const [name, type, bytes] of files) {
                carried.items.add(new File([Uint8Array.from(bytes)], name, { type }));
            }
            return carried;
        }""",
        [[name, kind, list(content)] for name, kind, content in files],
    )
    where.dispatch_event("drop", {"dataTransfer": transfer})


def open_comparison(page: Page, title: str = "One title for both") -> None:
    """The tab with two equal versions."""
    page.get_by_label("Title").fill(title)
    page.get_by_role("tab", name="Not published yet").click()
    expect(page.locator(".version")).to_have_count(2)


def compared(page: Page) -> list[dict[str, float]]:
    """Press the button, and return the answers once the verdict is shown."""
    with page.expect_response("**/predict/batch") as response:
        page.get_by_role("button", name="Compare them").click()
    expect(page.locator(".decided")).to_be_visible()
    predictions: list[dict[str, float]] = response.value.json()["predictions"]
    return predictions


@pytest.mark.parametrize("size", [(1280, 900), PHONE], ids=str)
def test_the_best_version_wins_by_its_lead(open_page: Open, size: tuple[int, int]) -> None:
    """The highest score is named and marked, and its lead in percentage points is the scores' difference."""
    with open_page(size=size) as visit:
        page = visit.page
        page.get_by_label("Views", exact=True).fill("210000")
        open_comparison(page, "x")
        page.get_by_role("button", name="Try an example").click()
        page.get_by_label("It is published").check()
        page.locator(".version").nth(2).get_by_label("Title").fill("10 minute workout, no equipment")
        answers = compared(page)
        scores = [answer["viral_score"] for answer in answers]
        best, second = sorted(scores, reverse=True)[:2]
        assert best - second > 0.01, "the example's titles must differ enough for this test"
        name = "ABC"[scores.index(best)]
        verdict = page.locator(".decided h2")
        expect(verdict).to_contain_text(f"{name} wins by {(best - second) * 100:.1f} percentage points")
        expect(page.locator(".version.winner")).to_have_count(1)
        expect(page.locator(".version.winner h3")).to_have_text(f"Version {name}")
        for version, answer in zip(page.locator(".version").all(), answers, strict=True):
            expect(version).to_contain_text(f"{rounded(answer['predicted_velocity']):,} views per day")
        views = {each: answer["predicted_velocity"] for each, answer in zip("ABC", answers, strict=True)}
        *_, next_fastest, fastest = sorted(views, key=views.__getitem__)
        rival = next_fastest if fastest == name else name
        more = f"{rounded(views[fastest] - views[rival]):,} more than {rival}."
        expect(page.locator(".decided")).to_contain_text(more)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_two_versions_tied_for_first_place_get_the_same_views(visit: Visit) -> None:
    """Two equal versions ahead of a third: no winner, and their views per day are called the same."""
    page = visit.page
    titles = ["My cat learned to open the fridge!", "cat opens fridge", "10 minute workout", "x"]
    videos = [{"title": each} for each in titles]
    answers = page.request.post(f"{page.url}predict/batch", data={"videos": videos}).json()
    order = [(each["viral_score"], each["predicted_velocity"]) for each in answers["predictions"]]
    ahead, behind = next(
        (titles[i], titles[j])
        for i, j in itertools.permutations(range(len(titles)), 2)
        if order[i][0] > order[j][0] + 1e-5 and order[i][1] > order[j][1] + 1
    )
    open_comparison(page, ahead)
    page.get_by_role("button", name="Add a version").click()
    page.locator(".version").first.get_by_label("Title").fill(behind)
    page.locator(".version").nth(2).get_by_label("Title").fill(ahead)
    compared(page)
    expect(page.locator(".decided h2")).to_contain_text("B and C are tied for first place at ")
    expect(page.locator(".decided")).to_contain_text("B and C are expected to get the same views per day.")
    expect(page.locator(".winner")).to_have_count(0)


def test_the_scores_of_versions_are_in_one_line(visit: Visit) -> None:
    """A long title or the winner's badge does not shift a score on the page."""
    page = visit.page
    open_comparison(page, "x")
    page.locator(".version").nth(1).get_by_label("Title").fill("How did she do that? " * 5)
    compared(page)
    tops = page.locator(".outcome strong").evaluate_all(
        "all => all.map((it) => it.getBoundingClientRect().top)"
    )
    assert tops == [tops[0]] * 2


def test_a_dropped_file_is_shrunk_and_sent(visit: Visit) -> None:
    """A picture is sent as a JPEG whose longer side is 640 pixels, and the page says so."""
    page = visit.page
    open_comparison(page)
    target = page.locator(".version").nth(1)
    drop(target, ("big.png", "image/png", picture(5, (800, 450), "PNG")))
    expect(target.locator(".note")).to_contain_text("big.png, sent as 640 × 360")
    with page.expect_request("**/predict/batch") as request:
        compared(page)
    sent = request.value.post_data_json["videos"]
    assert "thumbnail_url" not in sent[0]
    head, _, content = sent[1]["thumbnail_url"].partition(",")
    assert head == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(content))).size == (640, 360)


def test_no_difference_is_reported_with_its_reason(visit: Visit) -> None:
    """Two thumbnails on a checkpoint that gives images no weight: neither wins, and the page says why."""
    page = visit.page
    open_comparison(page)
    for index, version in enumerate(page.locator(".version").all()):
        drop(version, (f"{index}.jpg", "image/jpeg", picture(index)))
        expect(version.locator(".drop img")).to_be_visible()
    one, other = compared(page)
    assert one["viral_score"] == pytest.approx(other["viral_score"], abs=1e-6)
    expect(page.locator(".decided")).to_contain_text("No difference: both score the same.")
    expect(page.locator(".decided")).to_contain_text("this checkpoint gives images no weight")
    expect(page.locator(".winner")).to_have_count(0)


def test_equal_versions_are_called_the_same(visit: Visit) -> None:
    open_comparison(visit.page)
    compared(visit.page)
    expect(visit.page.locator(".decided")).to_contain_text("The versions are identical.")


def test_four_versions_are_the_most(visit: Visit) -> None:
    """Five files dropped at once: four get a place, and the fifth is reported."""
    page = visit.page
    open_comparison(page)
    drop(page.locator(".intro"), *[(f"{index}.jpg", "image/jpeg", picture(index)) for index in range(5)])
    expect(page.locator(".version")).to_have_count(4)
    expect(page.locator(".version .drop img:visible")).to_have_count(4)
    expect(page.get_by_text("At most four versions; 1 image was left out.")).to_be_visible()
    expect(page.get_by_role("button", name="Add a version")).to_be_disabled()


def test_a_file_that_is_not_a_picture_is_reported(visit: Visit) -> None:
    page = visit.page
    open_comparison(page)
    target = page.locator(".version").first
    drop(target, ("notes.txt", "text/plain", b"not a picture"))
    expect(target.locator(".note")).to_contain_text("notes.txt is not an image that this browser can read")


def test_old_scores_disappear_after_an_edit(visit: Visit) -> None:
    """Once a version is edited after a comparison, the scores of that comparison are gone."""
    page = visit.page
    open_comparison(page)
    compared(page)
    page.locator(".version").first.get_by_label("Title").fill("Another one")
    expect(page.locator(".decided")).to_have_count(0)
    expect(page.locator(".outcome .score")).to_have_count(0)


def test_versions_that_cannot_be_scored_say_why(visit: Visit) -> None:
    page = visit.page
    page.get_by_label("Views", exact=True).fill("99999999999999999999")
    open_comparison(page)
    page.get_by_label("It is published").check()
    page.get_by_role("button", name="Compare them").click()
    expect(page.locator(".verdict").get_by_text("No version could be scored.")).to_be_visible()
    expect(page.locator(".version").first).to_contain_text("Not scored: view_count")


def test_no_counts_are_sent_for_an_unpublished_video(visit: Visit) -> None:
    """Only titles, thumbnails, length and description go out, whatever the other form holds."""
    page = visit.page
    page.get_by_label("Views", exact=True).fill("210000")
    open_comparison(page, "A title of a video")
    page.get_by_text("Length and description").click()
    page.locator("#version-length").fill("30")
    with page.expect_request("**/predict/batch") as request:
        compared(page)
    sent = request.value.post_data_json["videos"]
    assert sent == [{"title": "A title of a video", "duration_seconds": 30}] * 2


def test_without_a_basis_there_is_no_score(visit: Visit) -> None:
    """Titles whose words the encoder does not know: no percentage, no winner, and the reason."""
    page = visit.page
    open_comparison(page, "xqzvbn wrtplk jhgf")
    page.locator(".version").nth(1).get_by_label("Title").fill("qwpzx vbnkj trlkm")
    compared(page)
    expect(page.locator(".outcome .score")).to_have_text(["No basis for a score of this version"] * 2)
    expect(page.locator(".winner")).to_have_count(0)
    assert "%" not in page.locator(".versions").inner_text()
