"""Conversations as ShareGPT dumps have them: JSON, turns of people and models, no token counts and no arrivals.

A turn of the model is a request: its prompt is all that was said before in the conversation, its output is the turn.
Without a tokenizer, tokens are counted by OpenAI's rule of thumb (help centre, "What are tokens and how to count
them": about four characters of English), on UTF-8 bytes, so that other scripts, which take more tokens for a
character, count more. Of each prompt, blocks of 16 tokens (vLLM's default) are known: two turns of one conversation
share their beginning.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from workloads.documents import describe
from workloads.errors import InputError
from workloads.traces.raw import RawRequests

__all__ = ["BLOCK_TOKENS", "from_sharegpt", "token_estimate"]

BYTES_PER_TOKEN = 4
BLOCK_TOKENS = 16

_MODELS = frozenset({"gpt", "chatgpt", "assistant", "bard", "bing", "model"})
_NOTE = f"tokens are an estimate: one for each {BYTES_PER_TOKEN} bytes of UTF-8 text begun, no tokenizer was used"


def token_estimate(text: str) -> int:
    """Tokens of ``text`` by the rule of thumb, rounded up.

    >>> token_estimate("Hello"), token_estimate("")
    (2, 0)
    """
    return -(-len(text.encode(errors="surrogatepass")) // BYTES_PER_TOKEN)


def from_sharegpt(text: str, file: str) -> RawRequests:
    """The requests of all conversations, in the order of the file."""
    try:
        conversations = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"is no JSON: {error.msg}", "a list of conversations", file=file, line=error.lineno) from None
    except (ValueError, RecursionError):  # a number of thousands of digits, or nested too deep
        raise InputError("is no JSON that can be read", "a list of conversations", file=file) from None
    if not isinstance(conversations, list):
        raise InputError(f"found {describe(conversations)}", "a list of conversations", file=file)
    prompts: list[int] = []
    outputs: list[int] = []
    blocks: list[list[int]] = []
    next_block = 0
    for index, conversation in enumerate(conversations):
        said = 0  # tokens so far
        whole: list[int] = []  # ids of the blocks that are full
        for speaker, tokens in _turns(conversation, f"[{index}]", file):
            if speaker in _MODELS and said and tokens:
                grown = range(next_block, next_block + said // BLOCK_TOKENS - len(whole))
                whole = [*whole, *grown]
                next_block = grown.stop
                partial = [next_block] if said % BLOCK_TOKENS else []
                next_block += len(partial)
                prompts.append(said)
                outputs.append(tokens)
                blocks.append(whole + partial)
            said += tokens
    if not prompts:
        raise InputError("has no turn of a model that answers something", "conversations", file=file)
    lengths = np.array([prompts, outputs], np.int64)
    return RawRequests(lengths[0], lengths[1], blocks=blocks, block_tokens=BLOCK_TOKENS, notes=(_NOTE,))


def _turns(conversation: Any, field: str, file: str) -> list[tuple[str, int]]:
    """Who speaks and about how many tokens, turn by turn; ``from`` and ``value``, or ``role`` and ``content``."""
    if not isinstance(conversation, dict):
        raise InputError(f"found {describe(conversation)}", "a conversation", field, file=file)
    key = "messages" if "messages" in conversation else "conversations"
    turns = conversation.get(key)
    if not isinstance(turns, list):
        raise InputError(f"found {describe(turns)}", "a list of turns", f"{field}.{key}", file=file)
    found = []
    for number, turn in enumerate(turns):
        said = turn if isinstance(turn, dict) else {}
        speaker, value = said.get("from", said.get("role")), said.get("value", said.get("content"))
        if not isinstance(speaker, str) or not isinstance(value, str):
            expected = "a turn with 'from' and 'value', or 'role' and 'content'"
            raise InputError(f"found {describe(turn)}", expected, f"{field}.{key}[{number}]", file=file)
        found.append((speaker.casefold(), token_estimate(value)))
    return found
