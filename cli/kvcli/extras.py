"""What to type for a library that is optional."""


def needs(what: str, library: str, extra: str) -> str:
    """That `what` needs `library`, and how the `extra` that brings it is installed."""
    return (
        f"{what} needs {library}, which is optional: pip install 'kvstore[{extra}]', "
        f"or pip install -e '.[{extra}]' in a checkout"
    )
