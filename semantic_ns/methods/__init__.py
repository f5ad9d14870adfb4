"""The methods, one folder each, and what they share.

A method is registered by its line among the entry points `nerfstudio.method_configs` in pyproject.toml. Whatever method
is loaded first, the fixes that nerfstudio needs are in place before it.
"""

from semantic_ns import host

host.prepare()
