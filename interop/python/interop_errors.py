"""Exceptions that a caller may rebuild: allow this module as a remote exmod."""


class CustomError(Exception):
    """Travels with keyword arguments: it is rebuilt as CustomError(*args, **kwargs)."""

    def __init__(self, message, code=None, **kwargs):
        super().__init__(message)
        self.code = code
        self.kwargs = dict(kwargs, code=code)
