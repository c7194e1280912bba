"""From an object's name to the prompt that describes its photographs best (§4.1.1, METHOD A1).

``objects`` category → object name · ``wordnet`` object → senses and words, ``database`` WordNet's own files,
``wordnet_nouns.zip`` the embedded ones, ``embed`` the program that wrote it · ``ranking`` words → candidate prompts →
the ranking against the originals' embeddings · ``words`` a study's object → its words. Importing this package loads no
torch.
"""

from goodshot.components.prompts.objects import known_objects, object_for
from goodshot.components.prompts.ranking import (
    Candidate,
    Prompt,
    PromptConfig,
    PromptKind,
    RankedPrompt,
    Ranking,
    candidates,
    rank,
)
from goodshot.components.prompts.wordnet import RELATIONS, Relation, Sense, Source, UnknownWord, WordNet, open_wordnet
from goodshot.components.prompts.words import note_on, words_of

__all__ = [
    "RELATIONS",
    "Candidate",
    "Prompt",
    "PromptConfig",
    "PromptKind",
    "RankedPrompt",
    "Ranking",
    "Relation",
    "Sense",
    "Source",
    "UnknownWord",
    "WordNet",
    "candidates",
    "known_objects",
    "note_on",
    "object_for",
    "open_wordnet",
    "rank",
    "words_of",
]
