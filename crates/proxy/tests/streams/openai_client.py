"""Asks for each scenario with OpenAI's own client, and tells what it reports.

argv: the base address, the API ("chat" or "responses"), the scenarios as JSON.
"""
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import openai

BASE, API, SCENARIOS = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
WEATHER = {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}


def chat(client, seen):
    tools = [{"type": "function", "function": WEATHER}]
    messages = [{"role": "user", "content": "?"}]
    for chunk in client.chat.completions.create(model="gpt-4o-mini", messages=messages, tools=tools, stream=True):
        seen["events"] += 1
        for choice in chunk.choices or []:
            seen["text"] += choice.delta.content or ""
            seen["finish"] = choice.finish_reason or seen["finish"]
            for call in choice.delta.tool_calls or []:
                seen["tool"] = call.function.name or seen["tool"]
                seen["arguments"] += call.function.arguments or ""


def responses(client, seen):
    for event in client.responses.create(model="gpt-4o-mini", input="?", stream=True):
        seen["events"] += 1
        if event.type == "response.output_text.delta":
            seen["text"] += event.delta
        elif event.type == "response.function_call_arguments.delta":
            seen["arguments"] += event.delta
        elif event.type == "response.output_item.done" and event.item.type == "function_call":
            seen["tool"] = event.item.name
        elif event.type in ("response.completed", "response.incomplete"):
            details = event.response.incomplete_details
            seen["finish"] = event.type + (f" ({details.reason})" if details else "")
        elif event.type == "error":
            seen["finish"] = f"error event: {event.code}"


def ask(scenario):
    client = openai.OpenAI(
        base_url=f"{BASE}/{scenario['name']}/v1",
        api_key="none",
        timeout=scenario["timeout"],
        max_retries=scenario["retries"],
    )
    seen = {"events": 0, "text": "", "finish": None, "tool": None, "arguments": "", "error": None}
    start = time.monotonic()
    try:
        {"chat": chat, "responses": responses}[API](client, seen)
    except Exception as error:
        seen["error"] = type(error).__name__
    seen["waited"] = time.monotonic() - start >= scenario["waits"]
    return scenario["name"], seen


with ThreadPoolExecutor(8) as pool:
    print(json.dumps(dict(pool.map(ask, SCENARIOS)), ensure_ascii=False))
