"""The words of a study's object by its prompt configuration, and the line that tells the user where they come from."""

from collections.abc import Iterable

from goodshot.components.errors import BadInput
from goodshot.components.prompts.ranking import NAIVE, PromptConfig
from goodshot.components.prompts.wordnet import WordNet


def words_of(object_name: str, config: PromptConfig, wordnet: WordNet, objects: Iterable[str]) -> tuple[str, ...]:
    """Return the words of one of a study's `objects`; none if it is unknown and `config.naive_if_unknown` is set.

    Raises `UnknownWord` for another object that is not a noun in WordNet, and `BadInput` for a sense that no object has
    and for a noun without words by the configured relations.
    """
    senses = wordnet.own_senses(object_name, config.senses, objects)
    if config.naive_if_unknown and wordnet.noun_of(object_name) is None:
        return ()
    words = wordnet.words(object_name, config.hops, config.relations, senses)
    if not words:
        raise BadInput(f"{object_name!r} has no words by prompt.relations; name more of them, or raise prompt.hops")
    return words


def note_on(object_name: str, config: PromptConfig, wordnet: WordNet) -> str:
    """Return a line on an object that WordNet lacks: whose words it has, or that it has none; else an empty text."""
    if head := wordnet.head_of(object_name):
        noun = head.replace("_", " ")
        return (
            f"{object_name}: not in WordNet, so its words are those of {noun}; "
            "for other words name another noun (the study's objects: {category: noun}, or --object)"
        )
    if config.naive_if_unknown and wordnet.noun_of(object_name) is None:
        return f"{object_name}: not in WordNet, so its only prompt is “{NAIVE.format(object=object_name)}”"
    return ""
