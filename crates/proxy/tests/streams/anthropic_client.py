"""Asks for each scenario with Anthropic's own client, and tells what it reports.

argv: the base address, the scenarios as JSON.
"""
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import anthropic

BASE, SCENARIOS = sys.argv[1], json.loads(sys.argv[2])


def messages(client, seen):
    question = [{"role": "user", "content": "?"}]
    with client.messages.stream(model="claude-sonnet-4-5", max_tokens=100, messages=question) as stream:
        for event in stream:
            seen["events"] += 1
            if event.type == "content_block_delta" and event.delta.type == "text_delta":
                seen["text"] += event.delta.text
        final = stream.get_final_message()
        seen["finish"] = final.stop_reason
        for block in final.content:
            if block.type == "tool_use":
                seen["tool"], seen["arguments"] = block.name, json.dumps(block.input, ensure_ascii=False)


def ask(scenario):
    client = anthropic.Anthropic(
        base_url=f"{BASE}/{scenario['name']}",
        api_key="none",
        timeout=scenario["timeout"],
        max_retries=scenario["retries"],
    )
    seen = {"events": 0, "text": "", "finish": None, "tool": None, "arguments": "", "error": None}
    start = time.monotonic()
    try:
        messages(client, seen)
    except Exception as error:
        seen["error"] = type(error).__name__
    seen["waited"] = time.monotonic() - start >= scenario["waits"]
    return scenario["name"], seen


with ThreadPoolExecutor(8) as pool:
    print(json.dumps(dict(pool.map(ask, SCENARIOS)), ensure_ascii=False))
