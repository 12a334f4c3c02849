"""The one exception a user is meant to read: what is wrong, where, and what to do about it."""


class FedbenchError(Exception):
    """A fault that the user can mend.

    Args:
        what: one sentence on what is wrong, naming the offending value.
        where: the file (and line or key) it was found in.
        remedy: what to do about it.
    """

    def __init__(self, what: str, *, where: object = None, remedy: str | None = None) -> None:
        self.what, self.where, self.remedy = what, where, remedy
        place = f"{where}: " if where is not None else ""
        end = "" if what.endswith((".", ":", "!", "?")) or "\n" in what else "."
        super().__init__(f"{place}{what}" + (f"{end} Remedy: {remedy}" if remedy else ""))
