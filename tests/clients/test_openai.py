"""The official `openai` package talks to the router as if it were one server."""

import openai
import pytest

QUESTION = [{"role": "user", "content": "Which worker answers me?"}]


def test_chat_has_usage(client, model):
    response = client.chat.completions.create(model=model, messages=QUESTION, max_tokens=8)
    assert response.choices[0].message.content
    assert response.choices[0].finish_reason in ("stop", "length")
    assert response.usage.completion_tokens == 8
    assert response.usage.total_tokens == response.usage.prompt_tokens + 8


def test_streamed_chat_comes_in_chunks(client, model):
    stream = client.chat.completions.create(
        model=model, messages=QUESTION, max_tokens=12, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    pieces = [c.choices[0].delta.content for c in chunks if c.choices and c.choices[0].delta.content]
    assert len(pieces) > 1
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] in ("stop", "length")
    assert chunks[-1].usage.completion_tokens == 12


def test_completion_works(client, model):
    response = client.completions.create(model=model, prompt="Once upon a time", max_tokens=8)
    assert response.choices[0].text
    assert response.usage.completion_tokens == 8


def test_models_are_listed_once(client, model):
    assert [m.id for m in client.models.list()] == [model]


def test_bad_request_is_client_error(client, model):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=model, messages="not a list", max_tokens=8)
    assert caught.value.status_code == 400


def test_no_worker_is_503(lonely_client):
    with pytest.raises(openai.APIStatusError) as caught:
        lonely_client.chat.completions.create(model="any", messages=QUESTION, max_tokens=8)
    assert caught.value.status_code == 503
    assert "worker" in caught.value.message


def test_abandoned_stream_breaks_nothing(client, model):
    for _ in range(5):
        stream = client.chat.completions.create(model=model, messages=QUESTION, max_tokens=500, stream=True)
        next(iter(stream))
        stream.close()
    response = client.chat.completions.create(model=model, messages=QUESTION, max_tokens=4)
    assert response.usage.completion_tokens == 4
