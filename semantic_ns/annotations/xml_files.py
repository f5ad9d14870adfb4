"""XML of strangers, without entities and document types, which could make a small file large or read other files."""

from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from semantic_ns.errors import SceneError
from semantic_ns.io.text import read_text


def read_xml(path: Path) -> Element:
    """The root element of an XML file.

    Raises:
        SceneError: if the file cannot be read, is no XML (names line and column), or has entities.
    """
    text = read_text(path)
    try:
        return fromstring(text)
    except ParseError as error:
        line, column = error.position
        told = str(error).partition(":")[0]
        raise SceneError(
            f"Expected XML in {path}, found a mistake at line {line}, column {column} ({told}); correct the file."
        ) from error
    except (DefusedXmlException, ValueError, RecursionError) as error:
        raise SceneError(
            f"Expected plain XML in {path}, found {type(error).__name__}, that is, something which expands or refers "
            "to other files; export it again."
        ) from error
