"""Clients of a model hub and of an object store."""

import os
import tempfile
from pathlib import Path

from rows import LAB, of, prepare

prepare("huggingface.co")
os.environ |= {
    "AWS_ACCESS_KEY_ID": "AKIAACMEACMEACMEACME",
    "AWS_SECRET_ACCESS_KEY": "example",
    "AWS_DEFAULT_REGION": "eu-west-1",
}

import boto3
import huggingface_hub
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

MODEL, TOKEN = "acme/tiny-llm", "hf_acme"
FOLDER = Path(tempfile.mkdtemp(dir=LAB))
FILE = FOLDER / "secret.txt"
FILE.write_text("secret\n", encoding="utf-8")
LARGE = FOLDER / "large.bin"
LARGE.write_bytes(bytes(12 << 20))


def of_hub():
    allowed, refused = of("huggingface_hub")
    api = huggingface_hub.HfApi(token=TOKEN)
    delete = [huggingface_hub.CommitOperationDelete("config.json")]
    add = [huggingface_hub.CommitOperationAdd("secret.txt", str(FILE))]
    ask = huggingface_hub.InferenceClient(provider="hf-inference", api_key=TOKEN)
    question = [{"role": "user", "content": "secret"}]
    allowed("hf_hub_download", lambda: Path(api.hf_hub_download(MODEL, "config.json")).name)
    allowed("hf_hub_download of a large file", lambda: Path(api.hf_hub_download(MODEL, "model.safetensors")).name)
    again = str(FOLDER / "cache")
    allowed("snapshot_download", lambda: sorted(os.listdir(api.snapshot_download(MODEL, cache_dir=again))))
    allowed(
        "snapshot_download of a data set",
        lambda: sorted(os.listdir(api.snapshot_download("acme/corpus", repo_type="dataset"))),
    )
    allowed("list_repo_files", lambda: api.list_repo_files(MODEL))
    allowed("model_info", lambda: api.model_info(MODEL).id)
    allowed("list_models", lambda: [model.id for model in api.list_models(limit=3)])
    refused("hf_hub_download of another owner's", lambda: api.hf_hub_download("evil/model", "config.json"))
    refused("upload_file", lambda: api.upload_file(path_or_fileobj=str(FILE), path_in_repo="secret.txt", repo_id=MODEL))
    refused("upload_folder", lambda: api.upload_folder(folder_path=str(FOLDER), repo_id=MODEL))
    refused("create_commit", lambda: api.create_commit(MODEL, add, commit_message="x"))
    refused("create_commit of a deletion", lambda: api.create_commit(MODEL, delete, commit_message="x"))
    refused(
        "create_commit, create_pr=True", lambda: api.create_commit(MODEL, delete, commit_message="x", create_pr=True)
    )
    refused("create_pull_request", lambda: api.create_pull_request(MODEL, title="x"))
    refused("create_repo", lambda: api.create_repo("acme/new"))
    refused("delete_repo", lambda: api.delete_repo(MODEL))
    refused("create_branch", lambda: api.create_branch(MODEL, branch="x"))
    refused("run_job", lambda: api.run_job(image="python:3", command=["true"], namespace="acme"))
    refused("add_space_secret", lambda: api.add_space_secret("acme/space", "KEY", "secret"))
    refused("InferenceClient.chat_completion", lambda: ask.chat_completion(question, model=MODEL))


def of_store():
    once = Config(retries={"max_attempts": 1, "mode": "standard"}, read_timeout=20)
    allowed, refused = of("boto3")
    store = boto3.client("s3", config=once)
    bucket, key = "acme-datasets", "raw/part-0.txt"
    here, source = {"Bucket": bucket, "Key": key}, {"Bucket": bucket, "Key": key}
    parts = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
    allowed("s3 get_object", lambda: len(store.get_object(**here)["Body"].read()))
    allowed("s3 head_object", lambda: store.head_object(**here)["ContentLength"])
    allowed("s3 list_objects_v2", lambda: store.list_objects_v2(Bucket=bucket)["KeyCount"])
    allowed("s3 download_file", lambda: store.download_file(bucket, key, str(FOLDER / "part")))
    clean = {"Bucket": bucket, "Key": "clean/part-0.txt"}
    allowed("s3 put_object where uploads are allowed", lambda: store.put_object(**clean, Body=b"clean"))
    allowed(
        "s3 upload_file in parts where uploads are allowed",
        lambda: store.upload_file(str(LARGE), bucket, "clean/large.bin", Config=parts),
    )
    refused("s3 get_object of another bucket", lambda: store.get_object(Bucket="not-acmes", Key=key))
    refused("s3 put_object", lambda: store.put_object(**here, Body=b"secret"))
    refused("s3 put_object of 12 MiB", lambda: store.put_object(**here, Body=LARGE.read_bytes()))
    refused("s3 put_object into another bucket", lambda: store.put_object(Bucket="not-acmes", Key=key, Body=b"secret"))
    refused("s3 upload_file in parts", lambda: store.upload_file(str(LARGE), bucket, "large.bin", Config=parts))
    refused("s3 copy_object", lambda: store.copy_object(Bucket=bucket, Key="copy", CopySource=source))
    refused("s3 delete_object", lambda: store.delete_object(**here))
    refused("s3 delete_objects", lambda: store.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key}]}))
    refused(
        "s3 create_bucket",
        lambda: store.create_bucket(Bucket="new-bucket", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}),
    )
    refused("s3 put_bucket_policy", lambda: store.put_bucket_policy(Bucket=bucket, Policy="{}"))


of_hub()
of_store()
