"""From an object's name to the prompt that describes its photographs best (§4.1.1, METHOD A1).

``objects`` category → object name · ``wordnet`` object → senses and words, ``database`` WordNet's own files,
``wordnet_extract`` the embedded part of them, ``extract`` the program that wrote it · ``ranking`` words → candidate
prompts → the ranking against the originals' embeddings. Importing this package loads no torch.
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
    "object_for",
    "open_wordnet",
    "rank",
]
