"""login: whether a registry takes a credential, and what would be sent where (`--explain`)."""

from __future__ import annotations

from sampan.model.reference import Reference
from sampan.registry import auth, credentials
from sampan.registry.access import Access, Credential
from sampan.registry.client import Registry, read_body
from sampan.registry.config import Endpoint, RegistriesConf
from sampan.registry.credentials import Looked
from sampan.registry.errors import BODY_LIMIT, RegistryError
from sampan.registry.transport import shown


class RefusedError(RegistryError):
    """The registry does not take the credential."""

    def __init__(self, registry: str) -> None:
        super().__init__(f'logging into "{registry}"', "invalid username/password")


def check(registry: str, conf: RegistriesConf, access: Access) -> bool:
    """Ask /v2/ of the registry with the credential of `access`; False if that is no registry. RefusedError."""
    host = registry.partition("/")[0]
    endpoint = conf.endpoints(Reference(host, "login", "latest", None))[-1]
    client = Registry(Endpoint(endpoint.name, "", endpoint.insecure, False), access=access)
    try:
        answer = client.request("GET", f"{client.base()}/v2/", {}, (200, 404))
    except RegistryError as error:
        if error.status in (401, 403):
            raise RefusedError(registry) from None
        raise
    answer.response.release_conn()
    return answer.response.status == 200


def explain(name: Reference, conf: RegistriesConf, access: Access) -> list[Looked]:
    """What a pull of the image would do about credentials, step by step, no secret in it."""
    steps: list[Looked] = []
    for endpoint in conf.endpoints(name):
        role = "mirror" if endpoint.mirror else "registry"
        client = Registry(endpoint, access=access)
        steps.append(Looked(f"{role} {endpoint.host}", f"repository {endpoint.path}"))
        if access.credential is not None and not endpoint.mirror:
            steps.append(Looked("--creds", credentials.masked(access.credential)))
            found: Credential | None = access.credential
        else:
            found = credentials.lookup(endpoint.name, endpoint.path, access.authfile, steps)
        steps += _challenges(client, found)
    return steps


def _challenges(client: Registry, found: Credential | None) -> list[Looked]:
    """What the registry asks for, and whether the credential would go there."""
    where = f"{client.host} asks"
    try:
        base = client.base()
        response = client.transport.send("GET", f"{base}/v2/", {})
    except RegistryError as error:
        return [Looked(where, f"no answer: {error}")]
    challenges = auth.parse_challenges(response.headers.getlist("WWW-Authenticate"))
    read_body(response, BODY_LIMIT, cut=True)
    chosen = auth.choose(challenges)
    if response.status != 401 or chosen is None:
        return [Looked(where, f"nothing ({response.status}): no credential is sent")]
    if chosen.scheme == "basic":
        return [
            Looked(where, "for a name and password: " + ("sent" if found else "there are none"))
        ]
    realm = chosen.parameters["realm"]
    if found is None:
        sent = "asked without a credential"
    elif auth.may_send(base, realm):
        sent = "the credential is sent there"
    else:
        sent = "another domain: the credential is not sent there"
    return [Looked(where, f"for a token of {shown(realm)}: {sent}")]
