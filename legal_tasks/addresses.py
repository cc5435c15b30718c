"""Addresses that carry a login: taken apart, so that what is shown or kept never holds the password."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit, urlunsplit


def take_login(address: str) -> tuple[str, str, str]:
    """(the address without its login, login, password) of an URL; the last two are empty where it carries none."""
    parts = urlsplit(address)
    login, at, place = parts.netloc.rpartition("@")
    if not at:
        return address, "", ""
    name, _, password = login.partition(":")
    return urlunsplit(parts._replace(netloc=place)), unquote(name), unquote(password)


def has_login(address: str) -> bool:
    """Whether a text is an URL that carries a login."""
    try:
        return "://" in address and take_login(address)[0] != address
    except ValueError:  # no URL: a bracket without its partner
        return False
