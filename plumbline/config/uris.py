"""URIs may hold secrets, and what a configuration holds is recorded: this tells the two apart."""

import re
from urllib.parse import unquote, urlsplit

SECRET = re.compile(
    r"^\w[\w+.-]*://[^/?@]*:[^/?@]*@|[?&]\w*(secret|password|token|key)\w*=", re.IGNORECASE
)


def holds_secret(uri: str) -> bool:
    """Whether a URI has a password or a key in it."""
    return bool(SECRET.search(uri))


def without_login(uri: str) -> tuple[str, str, str]:
    """A URI without its login, then user and password; both empty where it has none.

    Example:
        >>> without_login("https://ann:open%20up@host:5000/api")
        ('https://host:5000/api', 'ann', 'open up')
    """
    parts = urlsplit(uri)
    login, at, host = parts.netloc.rpartition("@")
    if not at:
        return uri, "", ""
    user, _, password = login.partition(":")
    return parts._replace(netloc=host).geturl(), unquote(user), unquote(password)
