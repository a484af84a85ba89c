"""Clients of a model hub and of an object store."""

import os
import tempfile
from pathlib import Path

from rows import ALLOWED, LAB, REFUSED, prepare, row

prepare("huggingface.co")
os.environ |= {"AWS_ACCESS_KEY_ID": "AKIAACMEACMEACMEACME", "AWS_SECRET_ACCESS_KEY": "example", "AWS_DEFAULT_REGION": "eu-west-1"}

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
    api, name = huggingface_hub.HfApi(token=TOKEN), "huggingface_hub"
    delete = [huggingface_hub.CommitOperationDelete("config.json")]
    add = [huggingface_hub.CommitOperationAdd("secret.txt", str(FILE))]
    ask = huggingface_hub.InferenceClient(provider="hf-inference", api_key=TOKEN)
    question = [{"role": "user", "content": "secret"}]
    row(name, "hf_hub_download", ALLOWED, lambda: Path(api.hf_hub_download(MODEL, "config.json")).name)
    row(name, "hf_hub_download of a large file", ALLOWED, lambda: Path(api.hf_hub_download(MODEL, "model.safetensors")).name)
    row(name, "snapshot_download", ALLOWED, lambda: sorted(os.listdir(api.snapshot_download(MODEL))))
    row(name, "snapshot_download of a data set", ALLOWED, lambda: sorted(os.listdir(api.snapshot_download("acme/corpus", repo_type="dataset"))))
    row(name, "list_repo_files", ALLOWED, lambda: api.list_repo_files(MODEL))
    row(name, "model_info", ALLOWED, lambda: api.model_info(MODEL).id)
    row(name, "list_models", ALLOWED, lambda: [model.id for model in api.list_models(limit=3)])
    row(name, "hf_hub_download of another owner's", REFUSED, lambda: api.hf_hub_download("evil/model", "config.json"))
    row(name, "upload_file", REFUSED, lambda: api.upload_file(path_or_fileobj=str(FILE), path_in_repo="secret.txt", repo_id=MODEL))
    row(name, "upload_folder", REFUSED, lambda: api.upload_folder(folder_path=str(FOLDER), repo_id=MODEL))
    row(name, "create_commit", REFUSED, lambda: api.create_commit(MODEL, add, commit_message="x"))
    row(name, "create_commit of a deletion", REFUSED, lambda: api.create_commit(MODEL, delete, commit_message="x"))
    row(name, "create_commit, create_pr=True", REFUSED, lambda: api.create_commit(MODEL, delete, commit_message="x", create_pr=True))
    row(name, "create_pull_request", REFUSED, lambda: api.create_pull_request(MODEL, title="x"))
    row(name, "create_repo", REFUSED, lambda: api.create_repo("acme/new"))
    row(name, "delete_repo", REFUSED, lambda: api.delete_repo(MODEL))
    row(name, "create_branch", REFUSED, lambda: api.create_branch(MODEL, branch="x"))
    row(name, "run_job", REFUSED, lambda: api.run_job(image="python:3", command=["true"], namespace="acme"))
    row(name, "add_space_secret", REFUSED, lambda: api.add_space_secret("acme/space", "KEY", "secret"))
    row(name, "InferenceClient.chat_completion", REFUSED, lambda: ask.chat_completion(question, model=MODEL))


def of_store():
    once = Config(retries={"max_attempts": 1, "mode": "standard"}, read_timeout=20)
    store, name = boto3.client("s3", config=once), "boto3"
    bucket, key = "acme-datasets", "raw/part-0.txt"
    here, source = {"Bucket": bucket, "Key": key}, {"Bucket": bucket, "Key": key}
    parts = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
    row(name, "s3 get_object", ALLOWED, lambda: len(store.get_object(**here)["Body"].read()))
    row(name, "s3 head_object", ALLOWED, lambda: store.head_object(**here)["ContentLength"])
    row(name, "s3 list_objects_v2", ALLOWED, lambda: store.list_objects_v2(Bucket=bucket)["KeyCount"])
    row(name, "s3 download_file", ALLOWED, lambda: store.download_file(bucket, key, str(FOLDER / "part")))
    row(name, "s3 get_object of another bucket", REFUSED, lambda: store.get_object(Bucket="not-acmes", Key=key))
    row(name, "s3 put_object", REFUSED, lambda: store.put_object(**here, Body=b"secret"))
    row(name, "s3 put_object into another bucket", REFUSED, lambda: store.put_object(Bucket="not-acmes", Key=key, Body=b"secret"))
    row(name, "s3 upload_file in parts", REFUSED, lambda: store.upload_file(str(LARGE), bucket, "large.bin", Config=parts))
    row(name, "s3 copy_object", REFUSED, lambda: store.copy_object(Bucket=bucket, Key="copy", CopySource=source))
    row(name, "s3 delete_object", REFUSED, lambda: store.delete_object(**here))
    row(name, "s3 delete_objects", REFUSED, lambda: store.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key}]}))
    row(name, "s3 create_bucket", REFUSED, lambda: store.create_bucket(Bucket="new-bucket", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}))
    row(name, "s3 put_bucket_policy", REFUSED, lambda: store.put_bucket_policy(Bucket=bucket, Policy="{}"))


of_hub()
of_store()
