"""The Principal's Kit: the code the book's chapters import, run and break.

Folders are nouns from the table of contents; a file carries its algorithm's own name.
Cores do no I/O and take time and chance as arguments; `services` starts real servers; `course` serves the book.
"""

from importlib.metadata import version as _version

__version__ = _version("principal-kit")
