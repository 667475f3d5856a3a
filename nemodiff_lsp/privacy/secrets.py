"""Names that hold secrets by custom: a short list, judged without regard to case, never opened.

Used by `policy.py`. A template such as `.env.example` counts too: what it holds today is anyone's
guess, and silence costs little.
"""

from __future__ import annotations

import re
from fnmatch import translate

_ENVIRONMENT = (".env", ".env.*", ".env-*", ".env_*", "*.env", ".envrc", ".flaskenv")
_KEYS = (
    *("*.pem", "*.key", "*.p8", "*.p12", "*.pfx", "*.ppk", "*.jks", "*.jceks", "*.keystore"),
    *("*.bks", "*.kdb", "*.kdbx", "*.agekey", "*.asc", "*.gpg", "*.pgp", "*.ovpn"),
    *("*.crt", "*.cer", "*.der", "*.csr", "*.p7b", "*.p7c", "*.mobileprovision"),
    *("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "*_rsa", "*_ed25519", "*_ecdsa"),
)
_ACCOUNTS = (
    *(".netrc", "_netrc", ".npmrc", ".yarnrc.yml", ".pypirc", ".pgpass", "pgpass.conf", ".my.cnf"),
    *(".htpasswd", ".git-credentials", ".dockercfg", ".dockerconfigjson", ".boto", ".s3cfg"),
    *(".vault-token", ".terraformrc", "terraform.rc", "*.tfvars", "*.tfvars.json", "*.tfstate"),
    *("*.tfstate.*", "kubeconfig", "*.kubeconfig", "credentials*", ".credentials*"),
    *("service-account*.json", "service_account*.json", "client_secret*.json"),
    *("*.secret", "*.secrets", "secrets", "wp-config.php", ".*_history"),
)
_DATA = ("json", "yml", "yaml", "toml", "ini", "cfg", "conf", "env", "xml", "properties", "txt")
_SECRET_DATA = tuple(f"{stem}.{end}" for stem in ("secret", "secrets", ".secrets") for end in _DATA)

_FOLDERS = frozenset(
    ".aws .azure .gcloud .gnupg .kube .password-store .ssh .secrets secrets".split()
)
# Names that are harmless elsewhere.
_PLACES = (".config/gcloud/", ".config/gh/", ".docker/config.json", ".git/config", ".m2/settings")
_SECRET_LANGUAGES = frozenset(("dotenv", "pem", "env"))

# No case and no end of its own: fnmatch's pattern is anchored at the end already.
_NAMES = re.compile(
    "|".join(translate(name) for name in (*_ENVIRONMENT, *_KEYS, *_ACCOUNTS, *_SECRET_DATA)),
    re.IGNORECASE,
)


def is_secret_name(name: str) -> bool:
    """Whether a file of this name counts as a secret."""
    return _NAMES.match(name) is not None


def is_secret_path(path: str) -> bool:
    """Whether the file's name or any folder above it counts as a secret."""
    plain = path.replace("\\", "/")
    *folders, name = plain.split("/")
    if is_secret_name(name) or any(folder.casefold() in _FOLDERS for folder in folders):
        return True
    return any(f"/{place}" in plain.casefold() for place in _PLACES)


def is_secret_language(language_id: str | None) -> bool:
    """Whether the editor's language id means a file of secrets, whatever its name."""
    return language_id is not None and language_id.casefold() in _SECRET_LANGUAGES
