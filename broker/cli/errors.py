"""Failures a command ends with. The text says what failed and what to do next; no traceback reaches the
user.
"""


class CommandFailed(Exception):
    """A failure with a message for people, and a hint what to do next."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message
