"""The report's pages as Jinja templates. Whatever is put into them is escaped: it is text, never markup."""

from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

ENVIRONMENT = Environment(
    loader=FileSystemLoader(__path__[0]),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
    keep_trailing_newline=True,
)


def render(template: str, **values: Any) -> Markup:
    """A template of this folder, filled in."""
    return Markup(ENVIRONMENT.get_template(template).render(**values))
