"""nemodiff.setMode holds for the next request, and ends what was asked in the mode before."""

from __future__ import annotations

from in_process import Session, whole


async def set_mode(session: Session, mode: str) -> None:
    params = {"command": "nemodiff.setMode", "arguments": [mode]}
    answer = await session.reply(session.request("workspace/executeCommand", params))
    assert answer["result"] == mode


async def test_the_next_request_carries_the_mode() -> None:
    session = Session(default=whole("pass"))
    await session.initialize()
    session.open("x = ")
    assert await session.texts_at(4) == ["pass"]
    for mode in ("ar", "diffusion"):
        await set_mode(session, mode)
        session.edit(0, 0, "a")
        assert await session.texts_at(len(session.texts["file:///project/a.txt"])) == ["pass"]
        assert session.link.requests[-1].mode == mode


async def test_what_is_in_flight_is_not_taken_over_into_another_mode() -> None:
    session = Session()
    await session.initialize()
    # Slow enough that a request would wait for what is in flight.
    session.server.completer.pacer.note_latency(10_000.0)
    session.open("x = ")
    old = session.ask(4)
    flying = await session.asked(1)
    await set_mode(session, "ar")
    await session.settle()
    assert flying.is_cancelled
    assert (await session.reply(old))["result"] is None
    new = session.ask(4)
    again = await session.asked(2)
    assert again.request.mode == "ar"
    again.done.set_result(whole("y"))
    assert [item["insertText"] for item in (await session.reply(new))["result"]["items"]] == ["y"]
