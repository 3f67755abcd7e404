"""Files on the page: chosen, dropped and pasted, sent, and shown to everybody."""

import base64

from playwright.async_api import FilePayload, expect

from tests.web.conftest import Visit

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

# A browser lets no page make such an event of the user's; this is as near as a test comes.
GIVE = """([type, kind, content, name]) => {
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name, { type: kind }));
  const event = type === "paste"
    ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true })
    : new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
  document.querySelector("#composer").dispatchEvent(event);
}"""


def file(name: str, kind: str, content: bytes) -> FilePayload:
    return {"name": name, "mimeType": kind, "buffer": content}


async def test_files_are_attached_sent_shown_and_saved(visit: Visit) -> None:
    ada, bob = await visit("Ada"), await visit("Bob")
    session = await ada.begin("scripted", "/script turns=1 tokens=1")
    await ada.run_ends("1 turn")
    async with ada.door.rest(await ada.door.sign_in("Ada")) as rest:
        await rest.put(f"/v1/sessions/{session}/members/Bob", json={"role": "viewer"})
    await bob.open(session)

    waiting = ada.page.locator(".attaching li")
    await ada.page.locator("input[type=file]").set_input_files(file("notes.md", "text/markdown", b"# Notes"))
    await ada.page.evaluate(GIVE, ["paste", "image/png", PIXEL, "pasted.png"])
    await ada.page.evaluate(GIVE, ["drop", "application/x-msdownload", base64.b64encode(b"MZ\x00").decode(), "a.exe"])
    await expect(waiting).to_have_count(3)
    await expect(waiting.filter(has_text="a.exe").get_by_role("alert")).to_contain_text("not taken")
    send = ada.page.get_by_role("button", name="Send", exact=True)
    await ada.box.fill("/script turns=1 tokens=2")
    await expect(send).to_be_disabled()
    await ada.page.get_by_role("button", name="Remove a.exe").click()
    await ada.page.locator("input[type=file]").set_input_files(file("regretted.txt", "text/plain", b"no"))
    await expect(waiting.filter(has_text="2 B")).to_have_count(1)
    async with ada.page.expect_response(lambda answer: answer.request.method == "DELETE") as removing:
        await ada.page.get_by_role("button", name="Remove regretted.txt").click()
    assert (await removing.value).status == 204
    await expect(ada.page.locator(".attaching li.ready")).to_have_count(2)
    await send.click()
    await expect(waiting).to_have_count(0)

    for visitor in (ada, bob):
        said = visitor.page.locator("article.user").last
        picture = said.get_by_role("img", name="pasted.png")
        await expect(picture).to_be_visible()
        assert await picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 1
    async with bob.page.expect_download() as saving:
        await bob.page.get_by_role("button", name="notes.md").click()
    saved = await saving.value
    assert saved.suggested_filename == "notes.md"
    assert (await saved.path()).read_bytes() == b"# Notes"
    ada.errors = [error for error in ada.errors if "400" not in error]  # the browser tells of the refusal, too


async def test_a_picture_needs_no_words(visit: Visit) -> None:
    ada = await visit("Ada")
    await ada.begin("scripted", "/script turns=1 tokens=1")
    await ada.run_ends("1 turn")
    await ada.page.evaluate(GIVE, ["paste", "image/png", PIXEL, "pasted.png"])
    await expect(ada.page.locator(".attaching li.ready")).to_have_count(1)
    await ada.box.press("Enter")
    await expect(ada.page.locator("article.user").last.get_by_role("img", name="pasted.png")).to_be_visible()
    await expect(ada.page.locator("article.user").last.locator(".bubble")).to_have_count(0)
