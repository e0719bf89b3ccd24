"""The error that a user sees."""


class CutoverError(Exception):
    """Something that the user can cause and mend.

    Args:
        message: one line that says what is wrong and where (file, table, key).
        hint: one line that says what to do.
        exit_code: 2 for usage, plan and configuration; 4 where something could not be seen.
    """

    def __init__(self, message: str, hint: str = "", *, exit_code: int = 2) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code


class PlanError(CutoverError):
    """Something wrong in the plan that shows only in the world: it ends the command, whichever probe meets it."""
