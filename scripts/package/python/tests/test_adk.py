"""ADK's own in-memory service is the judge: the same calls, the same answers."""

import asyncio
import json
import os
import random
import threading

import pytest
from google.adk.agents import LlmAgent
from google.adk.artifacts import InMemoryArtifactService
from google.adk.errors.input_validation_error import InputValidationError
from google.adk.models import BaseLlm, LlmResponse
from google.adk.runners import Runner
from google.adk.sessions import InMemorySessionService
from google.adk.tools import ToolContext
from google.genai import types

import outputfs
from outputfs.adk import OutputfsArtifactService

PARTS = [
    types.Part(text="hello"),
    types.Part(text=""),
    types.Part(inline_data=types.Blob(data=b"\x00\xff", mime_type="image/png")),
    types.Part(inline_data=types.Blob(data=b"a,b\n", mime_type="text/csv", display_name="Table")),
    types.Part(inline_data=types.Blob(data=b"bytes", mime_type="application/octet-stream")),
    types.Part(inline_data=types.Blob(data=b"", mime_type="application/octet-stream")),
    types.Part(file_data=types.FileData(file_uri="gs://bucket/x", mime_type="application/pdf")),
]
NAMES = ["report.csv", "a", "a/b", "a/0", "user:profile.txt", "user:a/b", "x.tmp", ".ctl", "a%2Eb", "é ü.txt", "a//b"]


@pytest.fixture
def nobody(client):
    """Without a session of its own."""
    key = client._headers["Authorization"].removeprefix("Bearer ")
    with outputfs.Client(client.url, key) as made:
        assert made.session is None
        yield made


@pytest.fixture(params=["by itself", "in a session"])
def service(request, nobody, session):
    return OutputfsArtifactService(nobody, session=session if request.param == "in a session" else None)


def told(version):
    return version and (version.version, version.mime_type, version.custom_metadata)


async def same(ours, theirs, call, **arguments):
    async def ask(service):
        try:
            answer = await getattr(service, call)(**arguments)
        except InputValidationError:
            return InputValidationError
        if call == "list_artifact_versions":
            return [told(version) for version in answer]
        return told(answer) if call == "get_artifact_version" else answer

    mine, expected = await ask(ours), await ask(theirs)
    assert mine == expected, (call, arguments)


@pytest.mark.parametrize("seed", range(4))
def test_any_calls_give_what_the_in_memory_service_gives(service, session, seed):
    rng = random.Random(seed)
    theirs = InMemoryArtifactService()

    async def work():
        for step in range(60):
            scope = {"app_name": f"app{rng.choice('ab')}", "user_id": f"u-{session}"}
            scope["session_id"] = rng.choice(["s1", "s.1", "s/1", "x" * 150, None])
            named = scope | {"filename": rng.choice(NAMES)}
            match rng.choices(["save", "load", "keys", "versions", "one", "delete"], [6, 3, 2, 2, 2, 1])[0]:
                case "save":
                    said = rng.choice([None, {"k": f"v{step}"}, {"K x": 1, "n": {"deep": [1, None]}, "adk_name": "z"}])
                    part = rng.choice(PARTS)
                    await same(service, theirs, "save_artifact", artifact=part, custom_metadata=said, **named)
                case "load":
                    version = rng.choice([None, None, 0, 1, 7])
                    await same(service, theirs, "load_artifact", version=version, **named)
                case "keys":
                    await same(service, theirs, "list_artifact_keys", **scope)
                case "versions":
                    await same(service, theirs, "list_versions", **named)
                    await same(service, theirs, "list_artifact_versions", **named)
                case "one":
                    await same(service, theirs, "get_artifact_version", version=rng.choice([None, 0, 3]), **named)
                case "delete":
                    await same(service, theirs, "delete_artifact", **named)

    asyncio.run(work())


def test_references_lead_within_their_scope_and_not_for_ever(service, session):
    scope = {"app_name": "app", "user_id": session, "session_id": "s1"}
    theirs = InMemoryArtifactService()

    def to(name, app="app", at="s1", version=0):
        uri = f"artifact://apps/{app}/users/{session}/sessions/{at}/artifacts/{name}/versions/{version}"
        return types.Part(file_data=types.FileData(file_uri=uri))

    async def work():
        await same(service, theirs, "save_artifact", filename="d/target", artifact=PARTS[0], **scope)
        await same(service, theirs, "save_artifact", filename="ref", artifact=to("d/target"), **scope)
        await same(service, theirs, "load_artifact", filename="ref", **scope)
        for part in (to("x", app="other"), to("x", at="other"), types.Part(), to("x").model_copy(deep=True)):
            await same(service, theirs, "save_artifact", filename="refused", artifact=part, **scope)
        bad = types.Part(file_data=types.FileData(file_uri="artifact://nowhere"))
        await same(service, theirs, "save_artifact", filename="bad", artifact=bad, **scope)
        await same(service, theirs, "save_artifact", filename="loop", artifact=to("loop"), **scope)
        await same(service, theirs, "load_artifact", filename="loop", **scope)
        as_a_dict = {"inlineData": {"data": "aGk=", "mimeType": "text/plain"}}
        await same(service, theirs, "save_artifact", filename="dict", artifact=as_a_dict, **scope)
        await same(service, theirs, "load_artifact", filename="dict", **scope)

    asyncio.run(work())


def test_each_save_of_many_threads_is_a_version_of_its_own(nobody, session):
    """Twelve services, as in twelve processes: nothing is lost and no number is given twice."""
    scope = {"app_name": "app", "user_id": session, "session_id": "s", "filename": "log.txt"}
    made = []

    def work(i):
        part = types.Part(text=f"text {i}")
        made.append((asyncio.run(OutputfsArtifactService(nobody).save_artifact(artifact=part, **scope)), f"text {i}"))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(12)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert sorted(version for version, _ in made) == list(range(12))

    async def load():
        service = OutputfsArtifactService(nobody)
        return [((v, (await service.load_artifact(version=v, **scope)).text)) for v in range(12)]

    assert asyncio.run(load()) == sorted(made)


def test_a_version_is_an_artifact_with_its_type_and_a_place_that_people_read(nobody, session):
    scope = {"app_name": "chat", "user_id": session, "session_id": "s1", "filename": "out/table.csv"}
    service = OutputfsArtifactService(nobody)

    async def work():
        for text in ("a\n", "b\n"):
            part = types.Part(inline_data=types.Blob(data=text.encode(), mime_type="text/csv"))
            await service.save_artifact(artifact=part, custom_metadata={"stage": "final"}, **scope)
        await service.save_artifact(artifact=PARTS[0], **scope | {"filename": "user:me.txt", "session_id": None})
        return await service.get_artifact_version(**scope)

    version = asyncio.run(work())
    assert nobody.named("me.txt/0/me.txt", f"chat.{session}").content_type == "text/plain"
    assert version.canonical_uri == f"outputfs://chat.{session}.s1/out/table.csv/1/table.csv"
    artifact = nobody.named("out/table.csv/1/table.csv", f"chat.{session}.s1")
    assert (artifact.content_type, artifact.metadata["stage"], version.version) == ("text/csv", "final", 1)
    assert version.create_time == pytest.approx(artifact.created_at.timestamp())


class Scripted(BaseLlm):
    """A model that calls the tool once, then says what it got."""

    async def generate_content_async(self, llm_request, stream=False):
        last = llm_request.contents[-1].parts[-1]
        if last.function_response:
            answer = types.Part(text=json.dumps(last.function_response.response))
        else:
            answer = types.Part(function_call=types.FunctionCall(name="make_report", args={"title": "Q3"}))
        yield LlmResponse(content=types.Content(role="model", parts=[answer]))


def test_a_tool_of_an_agent_saves_and_loads(nobody, session):
    async def make_report(title: str, tool_context: ToolContext) -> dict:
        """Writes a report."""
        part = types.Part(inline_data=types.Blob(data=f"# {title}\n".encode(), mime_type="text/markdown"))
        version = await tool_context.save_artifact("report.md", part)
        return {"version": version, "names": await tool_context.list_artifacts()}

    async def work():
        sessions = InMemorySessionService()
        agent = LlmAgent(name="writer", model=Scripted(model="scripted"), tools=[make_report])
        runner = Runner(
            app_name="app", agent=agent, session_service=sessions, artifact_service=OutputfsArtifactService(nobody)
        )
        await sessions.create_session(app_name="app", user_id=session, session_id="s1")
        message = types.Content(role="user", parts=[types.Part(text="write")])
        events = runner.run_async(user_id=session, session_id="s1", new_message=message)
        return [part.text async for event in events for part in event.content.parts if part.text]

    assert json.loads(asyncio.run(work())[-1]) == {"version": 0, "names": ["report.md"]}
    artifact = nobody.named("report.md/0/report.md", f"app.{session}.s1")
    assert nobody.read(artifact.artifact_id) == b"# Q3\n" and artifact.content_type == "text/markdown"
    assert "OUTPUTFS_SESSION_ID" not in os.environ
