"""Clients of LLM providers and of a server of tools."""

import asyncio
import io

from rows import ALLOWED, REFUSED, prepare, row

prepare("api.openai.com")

import anthropic
import boto3
import mcp
import openai
from botocore.config import Config
from google import genai
from google.genai import types

QUESTION = [{"role": "user", "content": "What is a cofferdam?"}]
DOCUMENT = ("notes.jsonl", io.BytesIO(b'{"text": "secret"}\n'))


def of_openai():
    client = openai.OpenAI(api_key="sk-acme", max_retries=0, timeout=20)
    other = client.with_options(api_key="sk-of-somebody-else")
    ask, model, name = client.chat.completions.create, "gpt-4o-mini", "openai"

    def stream():
        return "".join(part.choices[0].delta.content or "" for part in ask(model=model, messages=QUESTION, stream=True))

    def sound():
        return ("a.wav", io.BytesIO(bytes(40000)))

    def converse(model):
        with client.realtime.connect(model=model) as connection:
            return connection.recv().type

    def respond():
        events = client.responses.create(model=model, input="Hello", stream=True)
        return "".join(event.delta for event in events if event.type == "response.output_text.delta")

    row(name, "chat.completions.create", ALLOWED, lambda: ask(model=model, messages=QUESTION).choices[0].message.content)
    row(name, "chat.completions.create, streamed", ALLOWED, stream)
    row(name, "responses.create", ALLOWED, lambda: client.responses.create(model=model, input="Hello").output_text)
    row(name, "responses.create, streamed", ALLOWED, respond)
    row(name, "embeddings.create", ALLOWED, lambda: client.embeddings.create(model="text-embedding-3-small", input="x").data[0].embedding)
    row(name, "audio.transcriptions.create", ALLOWED, lambda: client.audio.transcriptions.create(model="gpt-4o-mini-transcribe", file=sound()).text)
    row(name, "realtime.connect", ALLOWED, lambda: converse("gpt-4o-mini-realtime"))
    row(name, "models.list", ALLOWED, lambda: [model.id for model in client.models.list()])
    row(name, "files.content", REFUSED, lambda: client.files.content("file-1"))
    row(name, "audio.transcriptions.create with another model", REFUSED, lambda: client.audio.transcriptions.create(model="whisper-1", file=sound()).text)
    row(name, "realtime.connect with another model", REFUSED, lambda: converse("gpt-realtime"))
    row(name, "chat.completions.create with another model", REFUSED, lambda: ask(model="o3", messages=QUESTION))
    row(name, "chat.completions.create with another key", REFUSED, lambda: other.chat.completions.create(model=model, messages=QUESTION))
    row(name, "chat.completions.create, streamed, with another key", REFUSED, lambda: list(other.chat.completions.create(model=model, messages=QUESTION, stream=True)))
    row(name, "files.create", REFUSED, lambda: client.files.create(file=DOCUMENT, purpose="batch"))
    row(name, "uploads.create", REFUSED, lambda: client.uploads.create(bytes=1, filename="x", mime_type="text/plain", purpose="batch"))
    row(name, "batches.create", REFUSED, lambda: client.batches.create(input_file_id="file-1", endpoint="/v1/chat/completions", completion_window="24h"))
    row(name, "fine_tuning.jobs.create", REFUSED, lambda: client.fine_tuning.jobs.create(model=model, training_file="file-1"))
    row(name, "vector_stores.create", REFUSED, lambda: client.vector_stores.create(name="x"))


def of_anthropic():
    client = anthropic.Anthropic(api_key="sk-ant-acme", max_retries=0, timeout=20)
    ask = {"model": "claude-sonnet-5", "max_tokens": 64, "messages": QUESTION}
    name = "anthropic"

    def stream():
        with client.messages.stream(**ask) as parts:
            return "".join(parts.text_stream)

    batch = [{"custom_id": "1", "params": ask}]
    row(name, "messages.create", ALLOWED, lambda: client.messages.create(**ask).content[0].text)
    row(name, "messages.stream", ALLOWED, stream)
    row(name, "messages.count_tokens", ALLOWED, lambda: client.messages.count_tokens(model=ask["model"], messages=QUESTION).input_tokens)
    row(name, "models.list", ALLOWED, lambda: [model.id for model in client.models.list()])
    row(name, "messages.create with another model", REFUSED, lambda: client.messages.create(**{**ask, "model": "claude-opus-5"}))
    row(name, "messages.create with another key", REFUSED, lambda: client.with_options(api_key="sk-ant-other").messages.create(**ask))
    row(name, "beta.files.upload", REFUSED, lambda: client.beta.files.upload(file=DOCUMENT))
    row(name, "messages.batches.create", REFUSED, lambda: client.messages.batches.create(requests=batch))


def of_google():
    client = genai.Client(api_key="AIza-acme")
    model, name = "gemini-2.5-flash", "google-genai"
    ask = client.models
    text = types.UploadFileConfig(mime_type="text/plain")
    cached = types.CreateCachedContentConfig(contents="secret")

    def stream():
        return "".join(part.text for part in ask.generate_content_stream(model=model, contents="Hello"))

    row(name, "models.generate_content", ALLOWED, lambda: ask.generate_content(model=model, contents="Hello").text)
    row(name, "models.generate_content_stream", ALLOWED, stream)
    row(name, "models.count_tokens", ALLOWED, lambda: ask.count_tokens(model=model, contents="Hello").total_tokens)
    row(name, "models.list", ALLOWED, lambda: [model.name for model in ask.list(config={"query_base": True})])
    row(name, "models.generate_content with another model", REFUSED, lambda: ask.generate_content(model="gemini-1.0-pro", contents="x"))
    row(name, "files.upload", REFUSED, lambda: client.files.upload(file=io.BytesIO(b"secret"), config=text))
    row(name, "caches.create", REFUSED, lambda: client.caches.create(model=model, config=cached))


def of_bedrock():
    once, name = Config(retries={"max_attempts": 1, "mode": "standard"}, read_timeout=20), "boto3"
    keys = {"aws_access_key_id": "AKIAACMEACMEACMEACME", "aws_secret_access_key": "example"}
    other = {**keys, "aws_access_key_id": "AKIAOTHEROTHEROTHERO"}
    model, message = "anthropic.claude-sonnet-5", [{"role": "user", "content": [{"text": "Hello"}]}]

    def client(keys):
        return boto3.client("bedrock-runtime", region_name="eu-west-1", config=once, **keys)

    def stream():
        events = runtime.converse_stream(modelId=model, messages=message)["stream"]
        return "".join(event["contentBlockDelta"]["delta"]["text"] for event in events if "contentBlockDelta" in event)

    def later():
        kept = {"s3OutputDataConfig": {"s3Uri": "s3://not-acmes/answers"}}
        return runtime.start_async_invoke(modelId=model, modelInput={"x": 1}, outputDataConfig=kept)

    runtime, with_other = client(keys), client(other)
    row(name, "bedrock-runtime converse", ALLOWED, lambda: runtime.converse(modelId=model, messages=message)["stopReason"])
    row(name, "bedrock-runtime converse_stream", ALLOWED, stream)
    row(name, "bedrock-runtime invoke_model", ALLOWED, lambda: runtime.invoke_model(modelId=model, body=b"{}")["body"].read())
    row(name, "bedrock-runtime converse with another model", REFUSED, lambda: runtime.converse(modelId="meta.llama4-8b", messages=message))
    row(name, "bedrock-runtime converse with another key", REFUSED, lambda: with_other.converse(modelId=model, messages=message))
    row(name, "bedrock-runtime start_async_invoke", REFUSED, later)


def of_mcp():
    name = "mcp"

    def session(does):
        return lambda: asyncio.run(within(does))

    row(name, "initialize, tools/list", ALLOWED, session(lambda client: client.list_tools()))
    row(name, "tools/call search", ALLOWED, session(lambda client: client.call_tool("search", {})))
    row(name, "tools/call delete_page", REFUSED, session(lambda client: client.call_tool("delete_page", {})))


async def within(does):
    from mcp.client.streamable_http import streamable_http_client

    async with streamable_http_client("https://tools.acme.example/mcp") as (read, write, *_):
        async with mcp.ClientSession(read, write) as client:
            await client.initialize()
            return await does(client)


for client in (of_openai, of_anthropic, of_google, of_bedrock, of_mcp):
    client()
