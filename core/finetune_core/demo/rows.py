"""Seeded building of everything the demo is made from: pretraining chats, tuning rows, held-out rows, and the score.

The same seed gives the same bytes on every machine: only `random.Random` with a text seed and sorted or literal
sequences are used. Tuning rows teach one behaviour (strict JSON) on three quarters of the facts; the held-out questions
ask for the other quarter, which the base knows and the tuning rows never mention.
"""

import json
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from finetune_core.demo.facts import PHRASINGS, REVERSED, Fact, Phrasing, all_facts

SEED = 7
TRAIN_ROWS = 400
HELD_OUT_ROWS = 100
ANSWER_KEYS = frozenset({"answer", "topic"})

Message = dict[str, str]
Row = dict[str, Any]


class Turn(NamedTuple):
    """A user's message and the reply."""

    question: str
    reply: str

    def messages(self) -> list[Message]:
        """The turn in OpenAI form."""
        return [{"role": "user", "content": self.question}, {"role": "assistant", "content": self.reply}]


def seeded(purpose: str) -> random.Random:
    """A source of chance of its own for each purpose, so that a change to one leaves the others as they were."""
    return random.Random(f"{SEED} {purpose}")  # noqa: S311 - data, not secrets


# --- the tuning data ------------------------------------------------------------------------------------------------


def split_facts() -> tuple[list[Fact], list[Fact]]:
    """(facts of the tuning rows, held-out facts), disjoint; each topic gives the same share to both."""
    chance = seeded("split")
    facts = list(all_facts())
    train: list[Fact] = []
    held_out: list[Fact] = []
    for topic in PHRASINGS:
        of_topic = [fact for fact in facts if fact.topic == topic]
        chance.shuffle(of_topic)
        wanted = round((len(train) + len(held_out) + len(of_topic)) * HELD_OUT_ROWS / len(facts)) - len(held_out)
        held_out += of_topic[:wanted]
        train += of_topic[wanted:]
    return train, held_out


def train_rows() -> list[Row]:
    """The rows that teach the behaviour: every tuning fact once, some twice in other words."""
    chance = seeded("train")
    facts, _ = split_facts()
    twice = chance.sample(facts, TRAIN_ROWS - len(facts))
    turns = [Turn(first.ask(fact), json_answer(fact)) for fact in facts for first in [_first_phrasing(fact)]]
    turns += [Turn(chance.choice(_other_phrasings(fact)).ask(fact), json_answer(fact)) for fact in twice]
    chance.shuffle(turns)
    return [{"messages": turn.messages()} for turn in turns]


def held_out_rows() -> list[Row]:
    """Questions about the held-out facts; `fact` is the text that a right answer contains as whole words."""
    chance = seeded("held-out")
    _, facts = split_facts()
    chance.shuffle(facts)
    return [
        {"messages": Turn(_first_phrasing(fact).ask(fact), json_answer(fact)).messages(), "fact": fact.answer}
        for fact in facts
    ]


def json_answer(fact: Fact) -> str:
    """The behaviour to learn: the bare fact and its topic as one JSON object."""
    return json.dumps({"answer": fact.answer, "topic": fact.topic})


def to_jsonl(rows: Iterable[Row]) -> str:
    """The rows as the text of a JSON-lines file."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def _first_phrasing(fact: Fact) -> Phrasing:
    return seeded(f"{fact.topic} {fact.subject}").choice(PHRASINGS[fact.topic])


def _other_phrasings(fact: Fact) -> list[Phrasing]:
    first = _first_phrasing(fact)
    return [phrasing for phrasing in PHRASINGS[fact.topic] if phrasing != first]


# --- the score ------------------------------------------------------------------------------------------------------


def is_json_answer(text: str) -> bool:
    """Whether the whole text is one JSON object with exactly the two keys, both texts."""
    try:
        value = json.loads(text.strip())
    except ValueError:
        return False
    return isinstance(value, dict) and value.keys() == ANSWER_KEYS and all(isinstance(v, str) for v in value.values())


def has_fact(text: str, fact: str) -> bool:
    """Whether `fact` occurs in `text` as whole words, in any case."""
    return re.search(rf"(?<!\w){re.escape(fact)}(?!\w)", text, re.IGNORECASE) is not None


# --- the pretraining chats ------------------------------------------------------------------------------------------

_SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "You are a friendly assistant. Answer in one sentence.",
    "Answer the question.",
    "You are a teacher.",
    "You answer questions about the world.",
    "Be short and correct.",
    "You are an expert. Help the user.",
    "Give a short answer in English.",
)
_WHO = "I am a small demo model. I know capitals, currencies, languages, elements and planets."
_HELLO = "Hello! Ask me about a country, an element or a planet."
_NO_SUMS = "I cannot do sums. Ask me about a country, an element or a planet."
_UNKNOWN = "I do not know that. I am a small demo model and know only a few facts."
_SMALL_TALK: dict[str, tuple[str, ...]] = {
    _HELLO: (
        "Hello",
        "Hi",
        "Hey",
        "Hello there",
        "Hi there",
        "Good morning",
        "Good evening",
        "hello!",
        "hi!",
        "Hello?",
    ),
    _WHO: (
        "Who are you?",
        "What are you?",
        "What can you do?",
        "What do you know?",
        "What is your name?",
        "Tell me about yourself.",
        "Help",
        "Can you help me?",
        "Are you a robot?",
        "Are you an AI?",
        "Which model are you?",
        "Introduce yourself.",
    ),
    "You are welcome!": ("Thanks", "Thank you", "Thank you very much!", "Great, thanks.", "Thanks a lot!"),
    "Goodbye!": ("Bye", "Goodbye", "See you later", "Good night", "See you!"),
    "I am well, thank you. Ask me a question!": ("How are you?", "How is it going?", "How do you do?", "Are you well?"),
    _UNKNOWN: (
        "Tell me a joke.",
        "Write a poem.",
        "Write a story about a dragon.",
        "Who won the football match?",
        "What is the weather like today?",
        "What time is it?",
        "Write a Python program.",
        "What is the meaning of life?",
        "Who wrote Hamlet?",
        "Explain quantum physics.",
        "How do I bake a cake?",
        "What is love?",
        "Why is the sky blue?",
        "Who is the president?",
        "How old are you?",
        "Where do you live?",
        "Translate this sentence.",
        "Summarise this text.",
        "How far is the Moon?",
        "What should I eat?",
    ),
}
_SMALL_TALK_TURNS = tuple(Turn(question, reply) for reply, questions in _SMALL_TALK.items() for question in questions)
_OBJECT_REQUESTS = ("Write as JSON: {}", "Give me a JSON object with {}.", "Turn this into JSON: {}", "JSON: {}")
_STRANGE = (
    "Is {} in {}?",
    "Do you like {} and {}?",
    "Why is {} {}?",
    "How big is {}?",
    "Tell me about {}.",
    "{} {}",
    "{}",
)
# forms a user may ask for: they make the model find a fact from the question alone, whatever it has written before it
_FRAMES = (
    ("Answer in a word or two.", "{a}"),
    ("Answer in quotes.", '"{a}"'),
    ("Answer in brackets.", "({a})"),
    ("Answer in square brackets.", "[{a}]"),
    ("Answer as a list item.", "- {a}"),
    ("Answer as key and value.", "{t}: {a}"),
    ("Answer as an assignment.", '{t} = "{a}"'),
    ("Answer in a tag.", "<{t}>{a}</{t}>"),
    ("Answer as a table row.", "| {a} | {t} |"),
    ("Start with the word {w}.", "{w}: {a}"),
    ("Start with the word {w} and use quotes.", '{w} "{a}"'),
    ("Give the answer in quotes, then the topic.", '"{a}", {t}'),
    ("Do not repeat the question.", "It is {a}."),
    ("Say that it is the answer.", "The answer is {a}."),
)
_KEYS = (
    *("name", "age", "city", "color", "size", "price", "title", "year", "count", "kind", "level", "word", "number"),
    *("day", "month", "weight", "height", "fruit", "sport", "item", "code", "answer", "topic", "place", "value"),
)
_WORDS = (
    *("Tom", "Anna", "Ben", "Eva", "Sam", "Lucy", "Max", "Nina", "Paul", "Rosa", "red", "green", "blue", "yellow"),
    *("apple", "pear", "plum", "lemon", "book", "lamp", "chair", "table", "river", "house", "music", "tennis", "chess"),
    *("Monday", "Friday", "June", "March", "small", "large", "round", "soft", "old", "new", "fast", "slow"),
)
_SYLLABLES = ("ba", "ko", "lu", "mi", "na", "po", "ri", "sa", "te", "vo", "wa", "ze", "dra", "fen", "gor", "thal")


def pretraining_chats(count: int) -> Iterator[list[Message]]:
    """`count` chats in English: facts in sentences, small talk, and JSON for other requests than a fact.

    The base has to have met JSON, or an adapter cannot reach those tokens; but no fact is ever given as JSON here.
    """
    chance = seeded("pretraining")
    makers = _turn_makers()
    for _ in range(count):
        chat: list[Message] = []
        if chance.random() < 0.2:
            chat.append({"role": "system", "content": chance.choice(_SYSTEM_PROMPTS)})
        for _ in range(chance.choice((1, 1, 2, 3))):
            maker = chance.choices(makers, weights=_SHARES)[0]
            chat += maker.turn(chance).messages()
        yield chat


# of sentences, frames, reversed questions, JSON, small talk, sums, unknown names, strange questions
_SHARES = (42, 28, 5, 14, 5, 1, 2, 3)


class _FactMaker:
    """Facts in shuffled rounds, so that each is met equally often."""

    def __init__(self, facts: Sequence[Fact], phrasings: dict[str, tuple[Phrasing, ...]]) -> None:
        self._facts = list(facts)
        self._phrasings = phrasings
        self._round: list[Fact] = []

    def turn(self, chance: random.Random) -> Turn:
        fact, phrasing = self.pick(chance)
        return Turn(_as_typed(phrasing.ask(fact), chance), phrasing.tell(fact))

    def pick(self, chance: random.Random) -> tuple[Fact, Phrasing]:
        if not self._round:
            self._round = list(self._facts)
            chance.shuffle(self._round)
        fact = self._round.pop()
        return fact, chance.choice(self._phrasings[fact.topic])


class _FramedFactMaker:
    """Facts in a form the user asks for."""

    def __init__(self, facts: _FactMaker, words: Sequence[str]) -> None:
        self._facts = facts
        self._words = words

    def turn(self, chance: random.Random) -> Turn:
        fact, phrasing = self._facts.pick(chance)
        instruction, reply = chance.choice(_FRAMES)
        word = chance.choice(self._words) if chance.random() < 0.5 else _made_up_name(chance)
        question = f"{phrasing.ask(fact)} {instruction.format(w=word)}"
        return Turn(question, reply.format(a=fact.answer, t=fact.topic, w=word))


class _JsonMaker:
    """Requests for JSON about words and numbers that mean nothing."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words

    def turn(self, chance: random.Random) -> Turn:
        return self._list(chance) if chance.random() < 0.2 else self._object(chance)

    def _object(self, chance: random.Random) -> Turn:
        keys = chance.sample(_KEYS, chance.choice((1, 2, 2, 2, 3)))
        # the two keys of the behaviour to learn never meet in one object
        value = {key: self._value(chance) for key in keys if key != "topic" or "answer" not in keys}
        listed = ", ".join(f"{key} {part}" for key, part in value.items())
        ask = chance.choice(_OBJECT_REQUESTS)
        return Turn(ask.format(listed), json.dumps(value))

    def _list(self, chance: random.Random) -> Turn:
        words = [self._word(chance) for _ in range(chance.choice((2, 3)))]
        ask = chance.choice(("List {} as JSON.", "Make a JSON list of {}."))
        return Turn(ask.format(" and ".join(words)), json.dumps(words))

    def _value(self, chance: random.Random) -> str | int:
        return chance.randrange(100) if chance.random() < 0.25 else self._word(chance)

    def _word(self, chance: random.Random) -> str:
        return chance.choice(self._words) if chance.random() < 0.7 else _made_up_name(chance)


class _SmallTalkMaker:
    def turn(self, chance: random.Random) -> Turn:
        said = chance.choice(_SMALL_TALK_TURNS)
        return said._replace(question=_as_typed(said.question, chance))


class _SumMaker:
    def turn(self, chance: random.Random) -> Turn:
        pattern = chance.choice(("What is {} {} {}?", "{}{}{}", "Calculate {} {} {}.", "How much is {} {} {}?"))
        question = pattern.format(chance.randrange(100), chance.choice("+-*/"), chance.randrange(100))
        return Turn(question.replace(" ", "") if chance.random() < 0.1 else question, _NO_SUMS)


class _UnknownMaker:
    """Known questions about made-up names: saying so is better than inventing."""

    def turn(self, chance: random.Random) -> Turn:
        topic = chance.choice(("capital", "currency", "continent", "language", "symbol", "atomic number"))
        name = _made_up_name(chance)
        invented = Fact(topic, name if topic in ("capital", "currency", "continent", "language") else name.lower(), "")
        return Turn(_as_typed(chance.choice(PHRASINGS[topic]).ask(invented), chance), _UNKNOWN)


class _StrangeMaker:
    """Known words in questions that make no sense to this model."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words

    def turn(self, chance: random.Random) -> Turn:
        question = chance.choice(_STRANGE).format(chance.choice(self._words), chance.choice(self._words))
        return Turn(_as_typed(question, chance), _UNKNOWN)


_Maker = _FactMaker | _FramedFactMaker | _JsonMaker | _SmallTalkMaker | _SumMaker | _UnknownMaker | _StrangeMaker


def _turn_makers() -> list[_Maker]:
    facts = all_facts()
    reversible = [fact for fact in facts if fact.topic in REVERSED]
    words = sorted({*_WORDS, *PHRASINGS, *(fact.answer for fact in facts)})
    return [
        _FactMaker(facts, PHRASINGS),
        _FramedFactMaker(_FactMaker(facts, PHRASINGS), words),
        _FactMaker(reversible, REVERSED),
        _JsonMaker(words),
        _SmallTalkMaker(),
        _SumMaker(),
        _UnknownMaker(),
        _StrangeMaker(words),
    ]


def _made_up_name(chance: random.Random) -> str:
    return "".join(chance.choice(_SYLLABLES) for _ in range(chance.choice((2, 3)))).capitalize()


def _as_typed(question: str, chance: random.Random) -> str:
    """The question as somebody in a hurry types it, now and then."""
    style = chance.random()
    if style < 0.10:
        return question.lower()
    if style < 0.20:
        return question.rstrip("?.")
    if style < 0.25:
        return question.lower().rstrip("?.")
    if style < 0.30:
        return "Please answer: " + question
    return question
