"""python3 -m unittest discover -s tests/load/measuring -t tests/load"""
import json
import unittest

from . import meaning

SAID = {"text": "Hello you", "ended": "stop", "usage": [210, 140], "whole": True}


def stream(*events):
    return b"".join(b"data: " + (e.encode() if isinstance(e, str) else json.dumps(e).encode()) + b"\n\n" for e in events)


def openai_chunk(delta, finish=None, usage=None):
    chunk = {"id": "x", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    return chunk if usage is None else {"id": "x", "choices": [], "usage": usage}


class OpenAi(unittest.TestCase):
    USAGE = {"prompt_tokens": 210, "completion_tokens": 140}

    def test_a_plain_and_a_streamed_answer_of_one_text_mean_the_same(self):
        plain = {"choices": [{"message": {"content": "Hello you"}, "finish_reason": "stop"}], "usage": self.USAGE}
        self.assertEqual(meaning.openai(json.dumps(plain).encode()), SAID)
        first, second, last = openai_chunk({"content": "Hello"}), openai_chunk({"content": " you"}), openai_chunk({}, "stop")
        usage = openai_chunk({}, usage=self.USAGE)
        self.assertEqual(meaning.openai(stream(first, second, last, usage, "[DONE]")), SAID)
        # A chunk for the role alone is another way to say it.
        role = openai_chunk({"role": "assistant", "content": ""})
        self.assertEqual(meaning.openai(stream(role, first, second, last, usage, "[DONE]")), SAID)

    def test_a_cut_stream_and_one_without_usage_mean_something_else(self):
        first, last = openai_chunk({"content": "Hello you"}), openai_chunk({}, "stop")
        self.assertFalse(meaning.openai(stream(first, last))["whole"])
        self.assertEqual(meaning.openai(stream(first, last, "[DONE]"))["usage"], [None, None])


class Anthropic(unittest.TestCase):
    USAGE = {"input_tokens": 210, "output_tokens": 140}
    EVENTS = [
        {"type": "message_start", "message": {"usage": {"input_tokens": 210, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " you"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "stop"}, "usage": {"output_tokens": 140}},
        {"type": "message_stop"},
    ]

    def test_a_plain_and_a_streamed_answer_of_one_text_mean_the_same(self):
        plain = {"content": [{"type": "text", "text": "Hello you"}], "stop_reason": "stop", "usage": self.USAGE}
        self.assertEqual(meaning.anthropic(json.dumps(plain).encode()), SAID)
        self.assertEqual(meaning.anthropic(stream(*self.EVENTS)), SAID)

    def test_a_stream_without_its_end_is_not_whole(self):
        self.assertFalse(meaning.anthropic(stream(*self.EVENTS[:-1]))["whole"])


if __name__ == "__main__":
    unittest.main()
