"""Clients of LLM providers and of a server of tools."""

import asyncio
import io

from rows import of, prepare

prepare("api.openai.com")

import anthropic
import boto3
import mcp
import openai
from botocore.config import Config
from google import genai
from google.genai import types

QUESTION = [{"role": "user", "content": "What is a cofferdam?"}]
# More than buffers hold: it is refused while the client is still sending.
LARGE = ("large.jsonl", bytes(24 << 20))
DOCUMENT = ("notes.jsonl", io.BytesIO(b'{"text": "secret"}\n'))


def of_openai():
    client = openai.OpenAI(api_key="sk-acme", max_retries=0, timeout=20)
    other = client.with_options(api_key="sk-of-somebody-else")
    allowed, refused = of("openai")
    ask, model = client.chat.completions.create, "gpt-4o-mini"

    def stream():
        return "".join(part.choices[0].delta.content or "" for part in ask(model=model, messages=QUESTION, stream=True))

    def sound():
        return ("a.wav", io.BytesIO(bytes(40000)))

    def converse(model, tries=3):
        try:
            with client.realtime.connect(model=model) as connection:
                return connection.recv().type
        except TimeoutError:
            # Nobody answered, which is no refusal.
            if tries == 1:
                raise
            return converse(model, tries - 1)

    def respond():
        events = client.responses.create(model=model, input="Hello", stream=True)
        return "".join(event.delta for event in events if event.type == "response.output_text.delta")

    allowed("chat.completions.create", lambda: ask(model=model, messages=QUESTION).choices[0].message.content)
    allowed("chat.completions.create, streamed", stream)
    allowed("responses.create", lambda: client.responses.create(model=model, input="Hello").output_text)
    allowed("responses.create, streamed", respond)
    allowed(
        "embeddings.create",
        lambda: client.embeddings.create(model="text-embedding-3-small", input="x").data[0].embedding,
    )
    allowed(
        "audio.transcriptions.create",
        lambda: client.audio.transcriptions.create(model="gpt-4o-mini-transcribe", file=sound()).text,
    )
    allowed("realtime.connect", lambda: converse("gpt-4o-mini-realtime"))
    allowed("models.list", lambda: [model.id for model in client.models.list()])
    refused("files.content", lambda: client.files.content("file-1"))
    refused(
        "audio.transcriptions.create with another model",
        lambda: client.audio.transcriptions.create(model="whisper-1", file=sound()).text,
    )
    refused("realtime.connect with another model", lambda: converse("gpt-realtime"))
    refused("chat.completions.create with another model", lambda: ask(model="o3", messages=QUESTION))
    refused(
        "chat.completions.create with another key",
        lambda: other.chat.completions.create(model=model, messages=QUESTION),
    )
    refused(
        "chat.completions.create, streamed, with another key",
        lambda: list(other.chat.completions.create(model=model, messages=QUESTION, stream=True)),
    )
    refused("files.create", lambda: client.files.create(file=DOCUMENT, purpose="batch"))
    refused("files.create of 24 MiB", lambda: client.files.create(file=LARGE, purpose="batch"))
    refused(
        "uploads.create", lambda: client.uploads.create(bytes=1, filename="x", mime_type="text/plain", purpose="batch")
    )
    refused(
        "batches.create",
        lambda: client.batches.create(input_file_id="file-1", endpoint="/v1/chat/completions", completion_window="24h"),
    )
    refused("fine_tuning.jobs.create", lambda: client.fine_tuning.jobs.create(model=model, training_file="file-1"))
    refused("vector_stores.create", lambda: client.vector_stores.create(name="x"))


def of_anthropic():
    client = anthropic.Anthropic(api_key="sk-ant-acme", max_retries=0, timeout=20)
    ask = {"model": "claude-sonnet-5", "max_tokens": 64, "messages": QUESTION}
    allowed, refused = of("anthropic")

    def stream():
        with client.messages.stream(**ask) as parts:
            return "".join(parts.text_stream)

    batch = [{"custom_id": "1", "params": ask}]
    allowed("messages.create", lambda: client.messages.create(**ask).content[0].text)
    allowed("messages.stream", stream)
    allowed(
        "messages.count_tokens",
        lambda: client.messages.count_tokens(model=ask["model"], messages=QUESTION).input_tokens,
    )
    allowed("models.list", lambda: [model.id for model in client.models.list()])
    refused("messages.create with another model", lambda: client.messages.create(**{**ask, "model": "claude-opus-5"}))
    refused(
        "messages.create with another key", lambda: client.with_options(api_key="sk-ant-other").messages.create(**ask)
    )
    refused("beta.files.upload of 24 MiB", lambda: client.beta.files.upload(file=LARGE))
    refused("beta.files.upload", lambda: client.beta.files.upload(file=DOCUMENT))
    refused("messages.batches.create", lambda: client.messages.batches.create(requests=batch))


def of_google():
    client = genai.Client(api_key="AIza-acme")
    allowed, refused = of("google-genai")
    model = "gemini-2.5-flash"
    ask = client.models
    text = types.UploadFileConfig(mime_type="text/plain")
    cached = types.CreateCachedContentConfig(contents="secret")

    def stream():
        return "".join(part.text for part in ask.generate_content_stream(model=model, contents="Hello"))

    allowed("models.generate_content", lambda: ask.generate_content(model=model, contents="Hello").text)
    allowed("models.generate_content_stream", stream)
    allowed("models.count_tokens", lambda: ask.count_tokens(model=model, contents="Hello").total_tokens)
    allowed("models.list", lambda: [model.name for model in ask.list(config={"query_base": True})])
    refused(
        "models.generate_content with another model", lambda: ask.generate_content(model="gemini-1.0-pro", contents="x")
    )
    refused("files.upload", lambda: client.files.upload(file=io.BytesIO(b"secret"), config=text))
    refused("caches.create", lambda: client.caches.create(model=model, config=cached))


def of_bedrock():
    allowed, refused = of("boto3")
    once = Config(retries={"max_attempts": 1, "mode": "standard"}, read_timeout=20)
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
    allowed("bedrock-runtime converse", lambda: runtime.converse(modelId=model, messages=message)["stopReason"])
    allowed("bedrock-runtime converse_stream", stream)
    allowed("bedrock-runtime invoke_model", lambda: runtime.invoke_model(modelId=model, body=b"{}")["body"].read())
    refused(
        "bedrock-runtime converse with another model",
        lambda: runtime.converse(modelId="meta.llama4-8b", messages=message),
    )
    refused("bedrock-runtime converse with another key", lambda: with_other.converse(modelId=model, messages=message))
    refused("bedrock-runtime start_async_invoke", later)


def of_mcp():
    allowed, refused = of("mcp")

    def session(does):
        return lambda: asyncio.run(within(does))

    allowed("initialize, tools/list", session(lambda client: client.list_tools()))
    allowed("tools/call search", session(lambda client: client.call_tool("search", {})))
    refused("tools/call delete_page", session(lambda client: client.call_tool("delete_page", {})))


async def within(does):
    from mcp.client.streamable_http import streamable_http_client

    async with streamable_http_client("https://tools.acme.example/mcp") as (read, write, *_):
        async with mcp.ClientSession(read, write) as client:
            await client.initialize()
            return await does(client)


for client in (of_openai, of_anthropic, of_google, of_bedrock, of_mcp):
    client()
