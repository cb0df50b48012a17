"""The moto server with S3's access checks made as strict as S3's own, for what backups and deployments rely on.

moto 5.1 enforces IAM, but (each point is one patch below, in this order):
1. it calculates the signature over a decoded URL, so that `delimiter=%2F` or a key with a blank never matches;
2. it maps a few requests to actions that S3 does not have, and has none for some it should;
3. it answers a request without an Authorization header with an internal error, and JSON services' clients in XML;
4. it asks one permission on the bucket for DeleteObjects, where S3 asks s3:DeleteObject on each key;
5. it does not ask for s3:GetObject on the source of a copy;
6. it takes policies' resources for regular expressions: `a.b` matches `aXb`, and `?` is no wildcard;
7. it believes checksums, S3 compares them with the body (BadDigest, XAmzContentSHA256Mismatch);
8. it lets CompleteMultipartUpload with If-None-Match replace an object that was uploaded in parts;
9. it knows no resources but S3's: a policy for one secret or one parameter allows nothing;
10. (not a check) a test whose clock is ahead, which S3 would refuse, says so by a header: what it stores is of that time.
11. it forgets which version of a secret is current when UpdateSecretVersionStage has moved AWSCURRENT.
Beside that, it answers the question whether a caller may do something that the front in front of it does (3), and lets
the front itself do anything.
What is still different from AWS is listed in ../../cloud/README.md.
"""

import base64
import binascii
import datetime
import hashlib
import json
import os
import re
import threading

import xmltodict
from botocore.awsrequest import AWSRequest
from flask import has_request_context
from flask import request as flask_request
from moto.core.exceptions import JsonRESTError, RESTError
from moto.core.responses import ActionAuthenticatorMixin
from moto.iam import access_control
from moto.s3 import responses
from moto.s3.exceptions import PreconditionFailed, S3AccessDeniedError, S3ClientError
from moto.s3.models import S3Backend
from moto.secretsmanager.models import SecretsManagerBackend
from moto.secretsmanager.responses import SecretsManagerResponse
from moto.server import main
from moto.ssm.responses import SimpleSystemManagerResponse

S3 = responses.S3Response
INSIDE = os.environ.get("SANDBOX_INSIDE")


# 1. What the client signed is the request target as it stood on the wire.
def create_aws_request(self):
    names = self._get_string_between("SignedHeaders=", ",", self._headers["Authorization"]).split(";")
    headers = self._create_headers_for_aws_request(names, self._headers)
    request = AWSRequest(
        method=self._method,
        url=flask_request.environ["RAW_URI"],
        data=self._body or self._data,
        headers=headers,
    )
    request.context["timestamp"] = headers["X-Amz-Date"]
    return request


access_control.IAMRequestBase._create_aws_request = create_aws_request

# 2. Names as in the service authorization reference for S3.
bucket_actions = responses.ACTION_MAP["BUCKET"]
bucket_actions["HEAD"]["DEFAULT"] = "ListBucket"
for method, prefix in (("GET", "Get"), ("PUT", "Put"), ("DELETE", "Put")):
    bucket_actions[method]["publicAccessBlock"] = prefix + "BucketPublicAccessBlock"
    bucket_actions[method]["encryption"] = prefix + "EncryptionConfiguration"
    bucket_actions[method]["object-lock"] = prefix + "BucketObjectLockConfiguration"

# 3. Nobody is anonymous here, and each protocol has its own form of a refusal.
authenticate = ActionAuthenticatorMixin._authenticate_and_authorize_action


class Allowed(JsonRESTError):
    """The answer to the front, which asks by this header whether a request may have these resources."""

    code = 200

    def __init__(self):
        super().__init__("Allowed", "")
        self.description = "allowed"


JSON_REFUSALS = {
    "AccessDenied": "AccessDeniedException",
    "InvalidClientTokenId": "UnrecognizedClientException",
    "SignatureDoesNotMatch": "InvalidSignatureException",
}


def authenticate_signed(self, iam_request_cls, resource="*"):
    # The word is made anew at each start, and told to nobody but the front.
    if INSIDE and self.headers.get("X-Sandbox-Inside") == INSIDE:
        return
    asked = self.headers.get("X-Sandbox-Ask")
    enforced = ActionAuthenticatorMixin.request_count >= responses.settings.INITIAL_NO_AUTH_ACTION_COUNT
    if enforced and isinstance(self, S3) and "Authorization" not in self.headers:
        raise S3AccessDeniedError()
    try:
        for one in json.loads(asked) if asked else resource if isinstance(resource, list) else [resource]:
            authenticate(self, iam_request_cls, one)
    except RESTError as error:
        # Services of the JSON protocols refuse in JSON; moto's XML makes the SDKs report a parse error.
        if "json" not in (self.headers.get("Content-Type") or ""):
            raise
        raise JsonRESTError(JSON_REFUSALS.get(error.error_type, error.error_type), error.message) from error
    if asked:
        raise Allowed()


ActionAuthenticatorMixin._authenticate_and_authorize_action = authenticate_signed


# 4. Each key is allowed or refused by itself, in one answer of status 200.
def bucket_response_delete_keys(self, bucket_name, authenticated=True):
    objects = xmltodict.parse(self.body, strip_whitespace=False, force_list=("Object",))["Delete"].get("Object", [])
    deleted, errors = [], []
    for item in objects:
        try:
            self._authenticate_and_authorize_s3_action(bucket_name=bucket_name, key_name=item["Key"])
        except S3ClientError:
            errors.append((item["Key"], "AccessDenied", "Access Denied"))
        else:
            deleted.append(item)
    done, locked = self.backend.delete_objects(bucket_name, deleted, False)
    errors.extend((key, "AccessDenied", "Access Denied because object protected by object lock.") for key in locked)
    template = self.response_template(responses.S3_DELETE_KEYS_RESPONSE)
    return 200, {}, template.render(deleted=done, delete_errors=errors)


S3._bucket_response_delete_keys = bucket_response_delete_keys


# 5. Whoever copies, reads.
def reading_source(method):
    def checked(self):
        source = responses.unquote(responses.urlparse(self.headers["x-amz-copy-source"]).path).lstrip("/")
        bucket, _, key = source.partition("/")
        action = self.data["Action"]
        self.data["Action"] = "GetObject"
        self._authenticate_and_authorize_s3_action(bucket_name=bucket, key_name=key)
        self.data["Action"] = action
        return method(self)

    return checked


S3.copy_object = reading_source(S3.copy_object)
S3.upload_part_copy = reading_source(S3.upload_part_copy)


# 6. `*` and `?` are the only wildcards of a policy; names of actions have no case.
def match(pattern, string):
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    flags = re.DOTALL if pattern.startswith("arn:") else re.DOTALL | re.IGNORECASE
    return re.fullmatch(expression, string, flags)


access_control.IAMPolicyStatement._match = staticmethod(match)


# 7. CRC32C and CRC64NVME would need libraries that Debian's moto does not bring: they are believed.
class BadDigest(S3ClientError):
    code = 400


ALGORITHMS = {
    "sha256": lambda body: hashlib.sha256(body).digest(),
    "sha1": lambda body: hashlib.sha1(body, usedforsecurity=False).digest(),
    "crc32": lambda body: binascii.crc32(body).to_bytes(4, "big"),
}


def declared_checksums(self):
    for name in ALGORITHMS:
        value = self.headers.get(f"x-amz-checksum-{name}")
        if value:
            yield name, value
    # aws-chunked: the checksum follows the body
    if self.headers.get("x-amz-trailer"):
        tail = self.raw_body[-200:].decode("latin-1")
        for name, value in re.findall(r"x-amz-checksum-(\w+):([\w+/=]+)", tail):
            if name in ALGORITHMS:
                yield name, value


def comparing_checksums(method):
    def checked(self):
        body = self.body or b""
        signed = self.headers.get("x-amz-content-sha256", "")
        if re.fullmatch(r"[0-9a-f]{64}", signed) and hashlib.sha256(self.raw_body or b"").hexdigest() != signed:
            raise BadDigest(
                "XAmzContentSHA256Mismatch",
                "The provided 'x-amz-content-sha256' header does not match what was computed.",
            )
        md5 = self.headers.get("Content-MD5")
        if md5 and base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode() != md5:
            raise BadDigest("BadDigest", "The Content-MD5 you specified did not match what we received.")
        for name, value in declared_checksums(self):
            if base64.b64encode(ALGORITHMS[name](body)).decode() != value:
                text = f"The {name.upper()} you specified did not match the calculated checksum."
                raise BadDigest("BadDigest", text)
        return method(self)

    return checked


S3.put_object = comparing_checksums(S3.put_object)
S3.upload_part = comparing_checksums(S3.upload_part)


# 8. A multipart upload is conditional too, also over an object that was itself uploaded in parts.
key_response_post = S3._key_response_post


def key_response_post_conditional(self, request, body, bucket_name, query, key_name):
    if self.headers.get("If-None-Match") == "*" and query.get("uploadId"):
        self._set_action("KEY", "POST", query)
        self._authenticate_and_authorize_s3_action(bucket_name=bucket_name, key_name=key_name)
        existing = self.backend.get_object(bucket_name, key_name)
        if existing is not None and getattr(existing.multipart, "id", None) != query["uploadId"][0]:
            raise PreconditionFailed("If-None-Match")
    return key_response_post(self, request, body, bucket_name, query, key_name)


S3._key_response_post = key_response_post_conditional


# Not a check: moto appends chunk by chunk to immutable bytes, which makes large streamed parts slow.
def decode_chunks(self, body):
    raw = body if isinstance(body, bytes) else body.read() if body else b""
    decoded = bytearray()
    position = 0
    while position < len(raw):
        end = raw.index(b"\r\n", position)
        length = int(raw[position:end].split(b";")[0], 16)
        if length == 0:
            break
        decoded += raw[end + 2 : end + 2 + length]
        position = end + 2 + length + 2
    return bytes(decoded)


S3._handle_encoded_body = decode_chunks

# 9. Who may read one secret or parameter is asked about that one.
def secret_resource(self):
    name = self._get_param("SecretId") or self._get_param("Name")
    if not name:
        return "*"
    secret = self.backend.secrets.get(name)
    return secret.arn if secret else f"arn:aws:secretsmanager:{self.region}:{self.current_account}:secret:{name}"


def parameter_resource(self):
    names = self._get_param("Names") or [self._get_param("Name") or self._get_param("Path")]
    prefix = f"arn:aws:ssm:{self.region}:{self.current_account}:parameter/"
    return [prefix + name.lstrip("/") if name else "*" for name in names]


SecretsManagerResponse._determine_resource = secret_resource
SimpleSystemManagerResponse._determine_resource = parameter_resource


# 10. Retention goes by LastModified too, and nobody waits a week for a test (test/backup/clock.ts).
store_object = S3Backend.put_object


def put_object_at(self, *args, **kwargs):
    key = store_object(self, *args, **kwargs)
    now = has_request_context() and flask_request.headers.get("X-Sandbox-Now")
    if now:
        key.last_modified = datetime.datetime.fromisoformat(now).replace(tzinfo=key.last_modified.tzinfo)
    return key


S3Backend.put_object = put_object_at


# 11. The label says which version is current. One call after another: of two that name the same version, one is refused.
update_secret_version_stage = SecretsManagerBackend.update_secret_version_stage
one_at_a_time = threading.Lock()


def move_stage(self, secret_id, version_stage, remove_from_version_id, move_to_version_id):
    with one_at_a_time:
        secret = self.secrets[secret_id] if secret_id in self.secrets else None
        labelled = [one for one in secret.versions.values() if version_stage in one["version_stages"]] if secret else []
        if not labelled and not remove_from_version_id and move_to_version_id in (secret.versions if secret else ()):
            # A secret that was made without a value has no current version yet, at which moto fails.
            secret.versions[move_to_version_id]["version_stages"].append(version_stage)
            moved = (secret.arn, secret.name)
        else:
            moved = update_secret_version_stage(
                self, secret_id, version_stage, remove_from_version_id, move_to_version_id
            )
        if version_stage == "AWSCURRENT":
            secret.set_default_version_id(move_to_version_id)
        return moved


SecretsManagerBackend.update_secret_version_stage = move_stage


if __name__ == "__main__":
    main()
