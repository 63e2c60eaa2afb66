"""The official `anthropic` package talks to the router as if it were one server."""

import anthropic
import pytest

QUESTION = [{"role": "user", "content": [{"type": "text", "text": "Which worker answers me?"}]}]


def anthropic_client(url, **options):
    return anthropic.Anthropic(base_url=url, max_retries=0, timeout=30, **{"api_key": "none", **options})


@pytest.fixture
def messages(router):
    return anthropic_client(router).messages


def test_message_has_usage(messages, model):
    message = messages.create(model=model, system="Be brief.", messages=QUESTION, max_tokens=8)
    assert message.content[0].text
    assert message.stop_reason in ("end_turn", "max_tokens")
    assert message.usage.output_tokens == 8
    assert message.usage.input_tokens > 8


def test_streamed_message_comes_in_pieces(messages, model):
    with messages.stream(model=model, messages=QUESTION, max_tokens=12) as stream:
        pieces = list(stream.text_stream)
        message = stream.get_final_message()
    assert len(pieces) > 1
    assert "".join(pieces) == message.content[0].text
    assert message.usage.output_tokens == 12


def test_tokens_are_counted(messages, model):
    short = messages.count_tokens(model=model, messages=QUESTION).input_tokens
    long = messages.count_tokens(model=model, messages=QUESTION, system="Be brief. " * 10).input_tokens
    assert long > short > 4


def test_bad_request_is_client_error(messages, model):
    with pytest.raises(anthropic.BadRequestError) as caught:
        messages.create(model=model, messages="not a list", max_tokens=8)
    assert caught.value.status_code == 400


def test_no_worker_has_anthropic_error_shape(lonely_router):
    with pytest.raises(anthropic.APIStatusError) as caught:
        anthropic_client(lonely_router).messages.create(model="any", messages=QUESTION, max_tokens=8)
    assert caught.value.status_code == 503
    assert caught.value.body["type"] == "error"
    assert caught.value.body["error"]["type"] == "overloaded_error"
    assert "worker" in caught.value.body["error"]["message"]


def test_api_key_header_is_a_key(keyed_router, model):
    anthropic_client(keyed_router, api_key="secret").messages.create(
        model=model, messages=QUESTION, max_tokens=4
    )
    with pytest.raises(anthropic.AuthenticationError) as caught:
        anthropic_client(keyed_router, api_key="wrong").messages.create(
            model=model, messages=QUESTION, max_tokens=4
        )
    assert caught.value.body["error"]["type"] == "authentication_error"
