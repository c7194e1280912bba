"""From an object's name to the prompt that describes its photographs best (§4.1.1, METHOD A1).

``objects`` category → object name · ``wordnet`` object → words, ``wordnet_extract`` the embedded part of
WordNet and ``extract`` what wrote it · ``ranking`` words → candidate prompts → the ranking against the
originals' embeddings. Importing this room loads neither torch nor nltk.
"""

from components.prompts.objects import OBJECTS, object_for
from components.prompts.ranking import (
    Candidate,
    Prompt,
    PromptConfig,
    PromptKind,
    RankedPrompt,
    Ranking,
    candidates,
    rank,
)
from components.prompts.wordnet import RELATIONS, WordNet, open_wordnet

__all__ = [
    "OBJECTS",
    "RELATIONS",
    "Candidate",
    "Prompt",
    "PromptConfig",
    "PromptKind",
    "RankedPrompt",
    "Ranking",
    "WordNet",
    "candidates",
    "object_for",
    "open_wordnet",
    "rank",
]
