"""What is answered without the engine, what it is asked ahead of time, and what ends its work."""

from __future__ import annotations

import pytest
from in_process import ScriptedLink, Session, draft, whole

PREFIX = "The quick "
OFFER = "brown fox jumps"


async def started(link_answer: str | None = None, **options: object) -> Session:
    client = str(options.pop("client", "tests"))
    session = Session(client, dict(options), None if link_answer is None else whole(link_answer))
    await session.initialize()
    session.open(PREFIX)
    return session


def drafts_of(link: ScriptedLink) -> list[str]:
    return [request.draft for request in link.requests]


async def test_typing_along_an_offer_asks_nobody() -> None:
    session = await started(OFFER)
    at = len(PREFIX)
    assert await session.texts_at(at) == [OFFER]
    for number, char in enumerate(OFFER[:-1], 1):
        at = session.type(at, char)
        assert await session.texts_at(at) == [OFFER[number:]]
    assert len(session.link.asked) == 1


async def test_taking_back_what_was_typed_brings_the_offer_back() -> None:
    session = await started(OFFER)
    at = len(PREFIX)
    await session.texts_at(at)
    session.type(at, "brown")
    assert await session.texts_at(at + 5) == [OFFER[5:]]
    session.edit(at + 2, at + 5, "")
    assert await session.texts_at(at + 2) == [OFFER[2:]]
    session.edit(at, at + 2, "")
    assert await session.texts_at(at) == [OFFER]
    assert len(session.link.asked) == 1


async def test_another_edit_ends_the_offer() -> None:
    session = await started(OFFER)
    assert await session.texts_at(len(PREFIX)) == [OFFER]
    session.edit(0, 3, "One")
    await session.texts_at(len(PREFIX))
    assert len(session.link.asked) == 2


async def test_without_reuse_every_request_goes_to_the_engine() -> None:
    session = await started(OFFER, reuse=False)
    at = len(PREFIX)
    for _ in range(3):
        await session.texts_at(at)
    assert len(session.link.asked) == 3


async def test_what_departs_becomes_a_draft_without_the_conflict() -> None:
    session = await started(OFFER)
    at = len(PREFIX)
    await session.texts_at(at)
    at = session.type(at, "red ")
    await session.texts_at(at)
    assert drafts_of(session.link) == ["", "fox jumps"]


async def test_an_older_place_is_answered_from_the_cache() -> None:
    session = await started()
    session.open("one \ntwo \n")
    session.link.default = whole("first")
    assert await session.texts_at(4) == ["first"]
    session.link.default = whole("second")
    assert await session.texts_at(9) == ["second"]
    assert await session.texts_at(4) == ["first"]
    session.type(9, "se")
    assert await session.texts_at(11) == ["cond"]
    assert len(session.link.asked) == 2


async def test_silence_is_remembered_for_its_place_only() -> None:
    session = await started("")
    at = len(PREFIX)
    assert await session.texts_at(at) == []
    assert await session.texts_at(at) == []
    assert len(session.link.asked) == 1
    at = session.type(at, "b")
    assert await session.texts_at(at) == []
    assert len(session.link.asked) == 2


async def test_documents_do_not_share_answers() -> None:
    session = await started(OFFER)
    session.open(PREFIX, uri="file:///project/b.txt")
    await session.texts_at(len(PREFIX))
    await session.texts_at(len(PREFIX), uri="file:///project/b.txt")
    assert len(session.link.asked) == 2


async def test_a_key_gets_alternatives_although_something_is_on_offer() -> None:
    session = await started(OFFER)
    at = len(PREFIX)
    await session.texts_at(at)
    session.link.default = whole("brown fox", "brown bear", "red hat")
    assert await session.texts_at(at, is_invoked=True) == ["brown fox", "brown bear", "red hat"]
    assert [request.n for request in session.link.requests] == [1, 3]
    # All that still fit are kept while the user types along them.
    at = session.type(at, "brown ")
    assert await session.texts_at(at) == ["fox", "bear"]
    assert len(session.link.asked) == 2


@pytest.mark.parametrize("client", ["Neovim", "LSP4IJ"])
async def test_a_change_starts_the_work_for_clients_that_wait(client: str) -> None:
    session = await started(client=client)
    at = session.type(len(PREFIX), "b")
    ahead = await session.asked(1)
    assert ahead.request.priority == "speculative"
    assert ahead.request.prompt == PREFIX + "b"
    ahead.done.set_result(whole("rown fox"))
    assert await session.texts_at(at) == ["rown fox"]
    assert len(session.link.asked) == 1


async def test_a_start_ahead_is_taken_over_while_it_runs() -> None:
    session = await started(client="Neovim")
    session.server.completer.pacer.note_latency(10_000.0)
    at = session.type(len(PREFIX), "b")
    ahead = await session.asked(1)
    asked = session.ask(at)
    await session.settle()
    ahead.done.set_result(whole("rown fox"))
    answer = await session.reply(asked)
    assert [item["insertText"] for item in answer["result"]["items"]] == ["rown fox"]
    assert len(session.link.asked) == 1


@pytest.mark.parametrize(
    ("client", "options"),
    [("Visual Studio Code", {}), ("Neovim", {"speculativeStart": False})],
)
async def test_a_change_starts_nothing_where_that_does_not_pay(
    client: str, options: dict[str, object]
) -> None:
    session = await started(client=client, **options)
    session.type(len(PREFIX), "b")
    await session.settle()
    assert session.link.asked == []


async def test_nothing_is_done_ahead_on_battery(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nemodiff_lsp.completion.power._is_unplugged", lambda: True)
    session = await started(client="Neovim")
    session.type(len(PREFIX), "b")
    await session.settle()
    assert session.link.asked == []
    same = await started(client="Neovim", onBattery="same")
    same.type(len(PREFIX), "b")
    await same.asked(1)


async def test_what_follows_an_offer_is_asked_ahead() -> None:
    session = await started(prefetch=True)
    at = len(PREFIX)
    first = session.ask(at)
    (await session.asked(1)).done.set_result(whole(OFFER))
    await session.reply(first)
    ahead = await session.asked(2)
    assert ahead.request.prompt == PREFIX + OFFER
    assert ahead.request.priority == "speculative"
    # Typing along the offer leaves it alone, and so does taking the offer.
    at = session.type(at, OFFER[:3])
    assert await session.texts_at(at) == [OFFER[3:]]
    at = session.type(at, OFFER[3:])
    ahead.done.set_result(whole(" over the dog"))
    await session.settle()
    assert await session.texts_at(at) == [" over the dog"]
    assert len([each for each in session.link.asked if each.request.priority != "speculative"]) == 1


async def test_anything_real_ends_a_prefetch() -> None:
    session = await started(prefetch=True)
    session.open("other ", uri="file:///project/b.txt")
    first = session.ask(len(PREFIX))
    (await session.asked(1)).done.set_result(whole(OFFER))
    await session.reply(first)
    ahead = await session.asked(2)
    session.ask(6, uri="file:///project/b.txt")
    await session.asked(3)
    await session.settle()
    assert ahead.is_cancelled


async def test_a_draft_is_shown_and_finished_behind_the_scenes() -> None:
    session = await started()
    at = len(PREFIX)
    first = session.ask(at)
    (await session.asked(1)).done.set_result(draft("brown f"))
    answer = await session.reply(first)
    assert [item["insertText"] for item in answer["result"]["items"]] == ["brown"]
    rest = await session.asked(2)
    assert (rest.request.priority, rest.request.draft) == ("speculative", "brown f")
    rest.done.set_result(whole(OFFER))
    await session.settle()
    assert await session.texts_at(at) == [OFFER]
    assert len(session.link.asked) == 2


async def test_a_deadline_without_a_draft_warms_the_engine_up() -> None:
    session = await started()
    at = len(PREFIX)
    first = session.ask(at)
    (await session.asked(1)).done.set_result(draft(""))
    answer = await session.reply(first)
    assert answer["result"]["items"] == []
    assert "deadline" in session.server.why.last(None)
    (await session.asked(2)).done.set_result(whole(OFFER))
    await session.settle()
    assert await session.texts_at(at) == [OFFER]


async def test_typing_on_keeps_the_work_and_a_contradiction_ends_it() -> None:
    session = await started()
    at = len(PREFIX)
    session.server.completer.pacer.note_latency(10_000.0)
    older = session.ask(at)
    running = await session.asked(1)
    at = session.type(at, "b")
    assert (await session.reply(older))["result"] is None
    newer = session.ask(at)
    await session.settle()
    assert not running.is_cancelled
    running.done.set_result(whole(OFFER))
    answer = await session.reply(newer)
    assert [item["insertText"] for item in answer["result"]["items"]] == [OFFER[1:]]
    assert len(session.link.asked) == 1

    session.edit(0, 3, "One")
    last = session.ask(at)
    running = await session.asked(2)
    session.edit(0, 3, "Two")
    await session.settle()
    assert running.is_cancelled
    assert (await session.reply(last))["result"] is None


async def test_work_that_says_something_else_is_followed_by_new_work() -> None:
    session = await started()
    at = len(PREFIX)
    session.server.completer.pacer.note_latency(10_000.0)
    session.ask(at)
    running = await session.asked(1)
    at = session.type(at, "r")
    newer = session.ask(at)
    await session.settle()
    running.done.set_result(whole(OFFER))
    asked = await session.asked(2)
    assert asked.request.prompt == PREFIX + "r"
    asked.done.set_result(whole("ed hen"))
    answer = await session.reply(newer)
    assert [item["insertText"] for item in answer["result"]["items"]] == ["ed hen"]


async def test_work_that_nobody_takes_over_is_ended() -> None:
    session = await started()
    session.ask(len(PREFIX))
    running = await session.asked(1)
    session.type(len(PREFIX), "b")
    flight = session.server.completer.flights.of("file:///project/a.txt")
    assert flight is not None and flight.grace is not None
    assert not running.is_cancelled
    # As the timer does when its time has come.
    session.server.completer.flights._end_if_unasked(flight)
    await session.settle()
    assert running.is_cancelled


async def test_cancelling_ends_the_work_even_of_a_taken_over_flight() -> None:
    session = await started()
    session.server.completer.pacer.note_latency(10_000.0)
    session.ask(len(PREFIX))
    running = await session.asked(1)
    at = session.type(len(PREFIX), "b")
    newer = session.ask(at)
    await session.settle()
    session.cancel(newer)
    assert (await session.reply(newer))["error"]["code"] == -32800
    await session.settle()
    assert running.is_cancelled


async def test_a_lost_engine_is_null_and_a_loading_one_is_empty() -> None:
    from nemodiff_lsp.link.engine_state import EngineState

    session = await started()
    for kind, result in (("lost", None), ("loading", {"items": []})):
        asked = session.ask(len(PREFIX))
        one = await session.asked(len(session.link.asked) + 1)
        session.link.state = EngineState(kind, "Something about the engine.")  # type: ignore[arg-type]
        one.done.set_result(None)
        assert (await session.reply(asked))["result"] == result
        assert session.server.why.last(None) == "Something about the engine."


async def test_brackets_that_the_editor_closes_do_not_end_the_offer() -> None:
    session = await started("f(a, b)")
    session.open("x = ", language_id="python", uri="file:///project/a.py")
    uri = "file:///project/a.py"
    assert await session.texts_at(4, uri=uri) == ["f(a, b)"]
    session.type(4, "f", uri)
    session.type(5, "()", uri)
    (left,) = await session.texts_at(6, uri=uri)
    text = session.texts[uri]
    assert text[:6] + left + text[6:] == "x = f(a, b)"
    assert len(session.link.asked) == 1


async def test_other_settings_end_what_was_asked_under_the_old_ones() -> None:
    session = await started()
    asked = session.ask(len(PREFIX))
    running = await session.asked(1)
    settings = {"nemodiff": {"maxTokens": 7}}
    session.notify("workspace/didChangeConfiguration", {"settings": settings})
    assert (await session.reply(asked))["result"] is None
    await session.settle()
    assert running.is_cancelled
    session.link.default = whole(OFFER)
    assert await session.texts_at(len(PREFIX)) == [OFFER]
    assert session.link.requests[1].max_tokens == 7


async def test_settings_that_say_nothing_new_end_nothing() -> None:
    session = await started()
    asked = session.ask(len(PREFIX))
    running = await session.asked(1)
    for values in ({}, {"maxTokens": session.server.settings.max_tokens}):
        settings = {"nemodiff": values}
        session.notify("workspace/didChangeConfiguration", {"settings": settings})
    await session.settle()
    assert not running.is_cancelled
    running.done.set_result(whole(OFFER))
    (item,) = (await session.reply(asked))["result"]["items"]
    assert item["insertText"] == OFFER


async def test_other_files_that_cannot_be_looked_at_cost_no_completion(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = await started(OFFER, context=True)

    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the disk is gone")

    monkeypatch.setattr(session.server.collector, "snippets", broken)
    assert await session.texts_at(len(PREFIX)) == [OFFER]
