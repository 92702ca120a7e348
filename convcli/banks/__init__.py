"""Banks of kernels: the text that names them, the files and families they come from.

Everything that a user can get wrong is a :class:`~convcli.errors.KernelError` that tells the place: file, line, field,
entry or row.
"""
