"""The functions of `semantic_ns.files` under their former name."""

from semantic_ns.files import replacing, write_json, write_png

__all__ = ["replacing", "write_json", "write_png"]
