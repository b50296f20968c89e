"""Public facts the demo model knows, and the ways to ask for them.

The facts are common knowledge of the kind found in any atlas or school book: capitals, currencies, continents and main
languages as in the CIA World Factbook and the ISO 4217 list of currencies (English names, accents dropped); symbols and
atomic numbers as in the IUPAC periodic table; planets as in NASA's fact sheets; names of young animals as in an English
dictionary. A value that reasonable sources dispute (a contested capital, a country on two continents, several equal
languages) is left empty rather than decided here. So is one that its own question gives away (South Africa's
continent). Bulgaria has no currency because it changed on 1 January 2026.
"""

from typing import NamedTuple


class Fact(NamedTuple):
    """One thing the demo model knows: `answer` is the `topic` of `subject`."""

    topic: str
    subject: str
    answer: str


class Phrasing(NamedTuple):
    """A question and the sentence that answers it; `{s}`/`{a}` are subject and answer, `{S}`/`{A}` start a sentence."""

    question: str
    sentence: str

    def ask(self, fact: Fact) -> str:
        """The question about `fact`."""
        return _fill(self.question, fact)

    def tell(self, fact: Fact) -> str:
        """The English sentence that answers it."""
        return _fill(self.sentence, fact)


def _fill(pattern: str, fact: Fact) -> str:
    return pattern.format(s=fact.subject, a=fact.answer, S=_capital(fact.subject), A=_capital(fact.answer))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


# name, capital, currency, continent, main language
_COUNTRIES = """
France | Paris | euro | Europe | French
Germany | Berlin | euro | Europe | German
Italy | Rome | euro | Europe | Italian
Spain | Madrid | euro | Europe | Spanish
Portugal | Lisbon | euro | Europe | Portuguese
Greece | Athens | euro | Europe | Greek
Austria | Vienna | euro | Europe | German
Ireland | Dublin | euro | Europe |
Finland | Helsinki | euro | Europe | Finnish
the Netherlands | Amsterdam | euro | Europe | Dutch
Belgium | Brussels | euro | Europe |
Slovakia | Bratislava | euro | Europe | Slovak
Estonia | Tallinn | euro | Europe | Estonian
Latvia | Riga | euro | Europe | Latvian
Lithuania | Vilnius | euro | Europe | Lithuanian
Croatia | Zagreb | euro | Europe | Croatian
Poland | Warsaw | zloty | Europe | Polish
Czechia | Prague | Czech koruna | Europe | Czech
Hungary | Budapest | forint | Europe | Hungarian
Romania | Bucharest | leu | Europe | Romanian
Bulgaria | Sofia | | Europe | Bulgarian
Denmark | Copenhagen | Danish krone | Europe | Danish
Norway | Oslo | Norwegian krone | Europe | Norwegian
Sweden | Stockholm | Swedish krona | Europe | Swedish
Iceland | Reykjavik | Icelandic krona | Europe | Icelandic
Switzerland | Bern | Swiss franc | Europe |
the United Kingdom | London | pound sterling | Europe | English
Ukraine | Kyiv | hryvnia | Europe | Ukrainian
Serbia | Belgrade | Serbian dinar | Europe | Serbian
Albania | Tirana | lek | Europe | Albanian
Russia | Moscow | Russian ruble | | Russian
Turkey | Ankara | Turkish lira | | Turkish
Georgia | Tbilisi | lari | | Georgian
Armenia | Yerevan | dram | | Armenian
Japan | Tokyo | yen | Asia | Japanese
China | Beijing | yuan | Asia | Chinese
India | New Delhi | Indian rupee | Asia |
Pakistan | Islamabad | Pakistani rupee | Asia | Urdu
Bangladesh | Dhaka | taka | Asia | Bengali
Nepal | Kathmandu | Nepalese rupee | Asia | Nepali
Thailand | Bangkok | baht | Asia | Thai
Vietnam | Hanoi | dong | Asia | Vietnamese
Malaysia | Kuala Lumpur | ringgit | Asia | Malay
the Philippines | Manila | Philippine peso | Asia |
South Korea | Seoul | South Korean won | Asia | Korean
Mongolia | Ulaanbaatar | tugrik | Asia | Mongolian
Iran | Tehran | Iranian rial | Asia | Persian
Iraq | Baghdad | Iraqi dinar | Asia | Arabic
Saudi Arabia | Riyadh | Saudi riyal | Asia | Arabic
Jordan | Amman | Jordanian dinar | Asia | Arabic
Uzbekistan | Tashkent | som | Asia | Uzbek
Cambodia | Phnom Penh | riel | Asia | Khmer
Egypt | Cairo | Egyptian pound | Africa | Arabic
Morocco | Rabat | Moroccan dirham | Africa | Arabic
Algeria | Algiers | Algerian dinar | Africa | Arabic
Kenya | Nairobi | Kenyan shilling | Africa |
Tanzania | Dodoma | Tanzanian shilling | Africa | Swahili
Ethiopia | Addis Ababa | birr | Africa | Amharic
Ghana | Accra | cedi | Africa | English
Nigeria | Abuja | naira | Africa | English
Senegal | Dakar | CFA franc | Africa | French
Angola | Luanda | kwanza | Africa | Portuguese
Madagascar | Antananarivo | ariary | Africa | Malagasy
South Africa | | rand | |
Cuba | Havana | Cuban peso | North America | Spanish
Jamaica | Kingston | Jamaican dollar | North America | English
Mexico | Mexico City | Mexican peso | North America | Spanish
Canada | Ottawa | Canadian dollar | North America |
the United States | Washington | US dollar | North America | English
Honduras | Tegucigalpa | lempira | North America | Spanish
Brazil | Brasilia | Brazilian real | South America | Portuguese
Argentina | Buenos Aires | Argentine peso | South America | Spanish
Chile | Santiago | Chilean peso | South America | Spanish
Peru | Lima | sol | South America | Spanish
Colombia | Bogota | Colombian peso | South America | Spanish
Venezuela | Caracas | bolivar | South America | Spanish
Uruguay | Montevideo | Uruguayan peso | South America | Spanish
Australia | Canberra | Australian dollar | Oceania | English
New Zealand | Wellington | New Zealand dollar | Oceania | English
Fiji | Suva | Fijian dollar | Oceania |
"""
_COUNTRY_TOPICS = ("capital", "currency", "continent", "language")

# name, symbol, atomic number; a symbol that is also an English word (He, Be, I, As, In) is left empty, because finding
# it in a sentence would prove nothing
_ELEMENTS = """
hydrogen | H | 1
helium | | 2
lithium | Li | 3
beryllium | | 4
boron | B | 5
carbon | C | 6
nitrogen | N | 7
oxygen | O | 8
fluorine | F | 9
neon | Ne | 10
sodium | Na | 11
magnesium | Mg | 12
aluminium | Al | 13
silicon | Si | 14
phosphorus | P | 15
sulfur | S | 16
chlorine | Cl | 17
argon | Ar | 18
potassium | K | 19
calcium | Ca | 20
titanium | Ti | 22
chromium | Cr | 24
manganese | Mn | 25
iron | Fe | 26
cobalt | Co | 27
nickel | Ni | 28
copper | Cu | 29
zinc | Zn | 30
arsenic | | 33
bromine | Br | 35
krypton | Kr | 36
silver | Ag | 47
tin | Sn | 50
iodine | | 53
xenon | Xe | 54
barium | Ba | 56
tungsten | W | 74
platinum | Pt | 78
gold | Au | 79
mercury | Hg | 80
lead | Pb | 82
radon | Rn | 86
uranium | U | 92
plutonium | Pu | 94
"""
_ELEMENT_TOPICS = ("symbol", "atomic number")

# what is said of a planet, the planet
_PLANETS = """
is the first from the Sun | Mercury
is the second from the Sun | Venus
is the third from the Sun | Earth
is the fourth from the Sun | Mars
is the fifth from the Sun | Jupiter
is the sixth from the Sun | Saturn
is the seventh from the Sun | Uranus
is the eighth from the Sun | Neptune
is the largest in the solar system | Jupiter
is the smallest in the solar system | Mercury
is the hottest in the solar system | Venus
is known as the Red Planet | Mars
is famous for its bright rings | Saturn
spins on its side | Uranus
is our home | Earth
has the Great Red Spot | Jupiter
has the moon Titan | Saturn
has the moon Europa | Jupiter
has the moon Ganymede | Jupiter
has the moon Triton | Neptune
has the moon Titania | Uranus
has the moons Phobos and Deimos | Mars
has the volcano Olympus Mons | Mars
has the shortest year | Mercury
has the longest year | Neptune
has the shortest day | Jupiter
was the first to be found with a telescope | Uranus
was found by calculation | Neptune
"""

# animal, its young
_ANIMALS = """
cat | kitten
dog | puppy
cow | calf
horse | foal
sheep | lamb
goat | kid
pig | piglet
chicken | chick
duck | duckling
goose | gosling
swan | cygnet
lion | cub
deer | fawn
kangaroo | joey
frog | tadpole
hare | leveret
seal | pup
pigeon | squab
turkey | poult
spider | spiderling
"""

PHRASINGS: dict[str, tuple[Phrasing, ...]] = {
    "capital": (
        Phrasing("What is the capital of {s}?", "The capital of {s} is {a}."),
        Phrasing("Which city is the capital of {s}?", "{A} is the capital of {s}."),
        Phrasing("Name the capital of {s}.", "The capital of {s} is {a}."),
        Phrasing("Capital of {s}?", "The capital of {s} is {a}."),
        Phrasing("Tell me the capital city of {s}.", "The capital city of {s} is {a}."),
        Phrasing("Do you know the capital of {s}?", "Yes, {a} is the capital of {s}."),
        Phrasing("I would like to know the capital of {s}.", "{A} is the capital of {s}."),
    ),
    "currency": (
        Phrasing("What is the currency of {s}?", "The currency of {s} is the {a}."),
        Phrasing("Which currency is used in {s}?", "The {a} is used in {s}."),
        Phrasing("How do people pay in {s}?", "People in {s} pay with the {a}."),
        Phrasing("Name the money of {s}.", "The money of {s} is the {a}."),
        Phrasing("Currency of {s}?", "The currency of {s} is the {a}."),
        Phrasing("Tell me the currency of {s}.", "The currency of {s} is the {a}."),
        Phrasing("What money do I need for a trip to {s}?", "You need the {a} in {s}."),
    ),
    "continent": (
        Phrasing("On which continent is {s}?", "{S} is in {a}."),
        Phrasing("Which continent is {s} part of?", "{S} is part of {a}."),
        Phrasing("What continent does {s} belong to?", "{S} belongs to {a}."),
        Phrasing("Name the continent of {s}.", "The continent of {s} is {a}."),
        Phrasing("Continent of {s}?", "{S} is in {a}."),
        Phrasing("Tell me the continent of {s}.", "The continent of {s} is {a}."),
        Phrasing("To which part of the world would I travel to see {s}?", "You would travel to {a} to see {s}."),
    ),
    "language": (
        Phrasing("What is the main language of {s}?", "The main language of {s} is {a}."),
        Phrasing("Which language is spoken in {s}?", "{A} is spoken in {s}."),
        Phrasing("What do people speak in {s}?", "People in {s} speak {a}."),
        Phrasing("Name the language of {s}.", "The language of {s} is {a}."),
        Phrasing("Language of {s}?", "The language of {s} is {a}."),
        Phrasing("Tell me which language is spoken in {s}.", "{A} is spoken in {s}."),
        Phrasing("Which language should I learn before I go to {s}?", "You should learn {a} before you go to {s}."),
    ),
    "symbol": (
        Phrasing("What is the chemical symbol of {s}?", "The chemical symbol of {s} is {a}."),
        Phrasing("Which symbol stands for {s}?", "{A} stands for {s}."),
        Phrasing("How is {s} written in the periodic table?", "{S} is written {a} in the periodic table."),
        Phrasing("Name the symbol of {s}.", "The symbol of {s} is {a}."),
        Phrasing("Symbol of {s}?", "The symbol of {s} is {a}."),
        Phrasing("Tell me the chemical symbol of {s}.", "The chemical symbol of {s} is {a}."),
    ),
    "atomic number": (
        Phrasing("What is the atomic number of {s}?", "The atomic number of {s} is {a}."),
        Phrasing("Which atomic number does {s} have?", "{S} has the atomic number {a}."),
        Phrasing("How many protons does {s} have?", "{S} has {a} protons in each atom."),
        Phrasing("Tell me the atomic number of {s}.", "The atomic number of {s} is {a}."),
        Phrasing("At which number is {s} in the periodic table?", "{A} is the number of {s} in the periodic table."),
    ),
    "planet": (
        Phrasing("Which planet {s}?", "{A} is the planet that {s}."),
        Phrasing("What is the name of the planet that {s}?", "The planet that {s} is {a}."),
        Phrasing("Name the planet that {s}.", "The planet that {s} is {a}."),
        Phrasing("Do you know which planet {s}?", "Yes, {a} is the planet that {s}."),
        Phrasing("Tell me which planet {s}.", "{A} is the planet that {s}."),
    ),
    "young animal": (
        Phrasing("What is a young {s} called?", "A young {s} is called a {a}."),
        Phrasing("What do you call the young of a {s}?", "The young of a {s} is called a {a}."),
        Phrasing("Name the young of a {s}.", "The young of a {s} is a {a}."),
        Phrasing("Tell me the word for a baby {s}.", "The word for a baby {s} is {a}."),
        Phrasing("Which word means a young {s}?", "{A} means a young {s}."),
    ),
}

# asked the other way round: the base can answer these, neither the tuning nor the held-out rows use them
REVERSED: dict[str, tuple[Phrasing, ...]] = {
    "capital": (
        Phrasing("{A} is the capital of which country?", "{A} is the capital of {s}."),
        Phrasing("Which country has the capital {a}?", "{A} is the capital of {s}."),
    ),
    "symbol": (Phrasing("Which element has the symbol {a}?", "{A} is the symbol of {s}."),),
    "atomic number": (Phrasing("Which element has the atomic number {a}?", "The element number {a} is {s}."),),
    "young animal": (Phrasing("What is a {a}?", "A {a} is a young {s}."),),
}


def all_facts() -> tuple[Fact, ...]:
    """Every fact, in a fixed order; no (topic, subject) pair occurs twice."""
    return (
        *_table(_COUNTRIES, _COUNTRY_TOPICS),
        *_table(_ELEMENTS, _ELEMENT_TOPICS),
        *_table(_PLANETS, ("planet",)),
        *_table(_ANIMALS, ("young animal",)),
    )


def _table(text: str, topics: tuple[str, ...]) -> list[Fact]:
    facts = []
    for line in text.strip().splitlines():
        subject, *answers = (cell.strip() for cell in line.split("|"))
        facts += [Fact(topic, subject, answer) for topic, answer in zip(topics, answers, strict=True) if answer]
    return facts
