"""The synthetic tasks that daybreak-mini is trained on and measured by.

A sample is a conversation as a list of segments. Each segment is text or one special token, and is either context (read) or an
answer (learned and, in the evaluation, compared). Special tokens are never written inside text, so text is tokenized one segment at
a time. apps/server/src/eval has the same tasks for `daybreak eval`.
"""

import json

import numpy as np

TEXT_VOCABULARY = 1984  # byte-level BPE; the special tokens follow, then padding up to VOCABULARY
VOCABULARY = 2048
SPECIAL_TOKENS = ["<|bos|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|end|>"]
BOS, SYSTEM, USER, ASSISTANT, TOOL, END = range(TEXT_VOCABULARY, TEXT_VOCABULARY + len(SPECIAL_TOKENS))

# Rough sizes in tokens, used to fill a row. Generous: a document of lines comes to three to four fifths of its nominal length.
TOKENS_PER_LINE = 13.4
TOKENS_PER_QUESTION = 26
CHARACTERS_PER_TOKEN = 3.6

WORDS = (
    "amber anchor apple arrow aspen autumn badge bamboo basin beacon berry birch blaze bloom bridge bronze brook cabin camel "
    "candle canyon carbon castle cedar cherry cliff clover cobalt comet copper coral cotton crane creek crystal dawn delta "
    "desert dolphin dragon dune eagle echo ember falcon feather fern field flame flint forest fossil fox frost galaxy garden "
    "garnet ginger glacier grove gull hammer harbor hazel heron hill honey horizon indigo iris iron island ivory jade jasper "
    "jungle juniper kettle lagoon lake lantern lark laurel lemon lily linen lotus lunar magnet maple marble meadow mesa mint "
    "mirror moss mountain nectar needle nickel north oak oasis ocean olive onyx opal orbit orchid otter owl oxide palm panda "
    "paper pearl pebble pepper pine planet plum pond poppy prairie quartz quill rabbit rain raven reef ridge river robin "
    "rocket rose ruby saddle saffron sage sail salmon sand scarlet shadow shell silver sky slate snow solar sparrow spice "
    "spring spruce star stone storm summit sunset swan tempest thistle thunder tiger timber topaz torch tower trail tulip "
    "tundra turtle umber valley velvet violet walnut water wave west whale wheat willow wind winter wolf wren yarrow zephyr "
    "zinc"
).split()

NAMES = (
    "Ann Ben Cara Dan Eva Finn Gail Hugo Ida Jack Kim Leo Mia Ned Olga Paul Quin Rosa Sam Tess Uma Vic Wes Xena Yara Zoe"
).split()

CITIES = (
    "Oslo Paris Lima Cairo Quito Tokyo Delhi Rome Berlin Madrid Dublin Lagos Hanoi Seoul Kyoto Accra Porto Turin Malmo Basel"
).split()


class Sample:
    """One conversation, built from left to right."""

    def __init__(self):
        self.segments = []  # (text or special token id, is an answer)

    def context(self, *parts):
        self.segments += [(part, False) for part in parts]
        return self

    def answer(self, *parts):
        self.segments += [(part, True) for part in parts]
        return self

    def turn(self, question, answer):
        return self.context(USER, question, ASSISTANT).answer(answer, END)

    def encode(self, tokenizer):
        """Token ids, and for each of them whether it belongs to an answer (1) or to the context (0)."""
        tokens, learned = [], []
        for part, is_answer in self.segments:
            ids = [part] if isinstance(part, int) else tokenizer.encode(part, add_special_tokens=False).ids
            tokens += ids
            learned += [int(is_answer)] * len(ids)
        return tokens, learned


def random_key(random):
    return f"{random.choice(WORDS)}-{random.choice(WORDS)}"


def random_number(random):
    return str(random.randint(10000, 99999))


# ---- long documents ----------------------------------------------------------------------------------------------------------


def lines(random, length, stories):
    """Keyed lines that fill `length` tokens, then questions about some of them."""
    num_asked = random.randint(3, max(3, min(64, length // 50)))
    num_lines = max(3, int((length - num_asked * TOKENS_PER_QUESTION - 20) / TOKENS_PER_LINE))
    values = {}
    while len(values) < num_lines:
        values[random_key(random)] = random_number(random)
    document = "".join(f"line {key}: {value}\n" for key, value in values.items())
    sample = Sample().context(BOS, SYSTEM, document, END)
    keys = list(values)
    for _ in range(num_asked + 2):
        key = random.choice(keys)
        sample.turn(f"What is line {key}?", values[key])
    return sample


def needle(random, length, stories):
    """One to six numbers hidden among stories, then questions about those that the cut to `length` has left."""
    parts, num_tokens = [], 0
    count = random.randint(1, 6)
    room = max(80, length - count * 60 - 40)
    while num_tokens < room:
        story_text = random.choice(stories)
        parts.append(story_text + "\n")
        num_tokens += len(story_text) / CHARACTERS_PER_TOKEN
    values = {}
    while len(values) < count:
        values[random_key(random)] = random_number(random)
    for key, value in values.items():
        parts.insert(random.randint(0, len(parts)), f"The secret number of {key} is {value}. Remember it.\n")
    document = "".join(parts)[: int(room * CHARACTERS_PER_TOKEN)]
    sample = Sample().context(BOS, SYSTEM, document, END)
    for key, value in values.items():
        if f"of {key} is {value}." in document:
            sample.turn(f"What is the secret number of {key}?", value)
    return sample


# ---- short conversations -----------------------------------------------------------------------------------------------------


def compact_json(value):
    return json.dumps(value, separators=(",", ":"))


def extract(random, *_):
    """A record in words; some of its fields as JSON, in the order asked for."""
    record = {
        "name": random.choice(NAMES),
        "age": random.randint(18, 90),
        "city": random.choice(CITIES),
        "id": random_key(random),
        "vip": random.random() < 0.5,
    }
    wanted = random.sample(list(record), random.randint(2, 5))
    shuffled = random.sample(list(record.items()), len(record))
    words = ", ".join(f"{name} {json.dumps(value).strip(chr(34))}" for name, value in shuffled)
    question = f"Record: {words}. Give {', '.join(wanted)} as JSON."
    return Sample().context(BOS).turn(question, compact_json({name: record[name] for name in wanted}))


TOOLS = {  # name: parameters
    "get_weather": ["city"],
    "book_room": ["city", "name"],
    "find_line": ["key"],
    "set_timer": ["minutes"],
    "send_note": ["name", "key"],
}
TOOL_REQUESTS = {
    "get_weather": ["How is the weather in {city}?", "What is the weather like in {city}?"],
    "book_room": ["Book a room in {city} for {name}.", "Please book a room for {name} in {city}."],
    "find_line": ["Find line {key}.", "Look up line {key}."],
    "set_timer": ["Set a timer of {minutes} minutes.", "Set a timer for {minutes} minutes."],
    "send_note": ["Send {name} a note about {key}.", "Write a note about {key} to {name}."],
}


def tool(random, *_):
    """Some tools are offered, one is needed: the call, then its result in a sentence."""
    offered = random.sample(list(TOOLS), random.randint(2, 5))
    name = random.choice(offered)
    values = {
        "city": random.choice(CITIES),
        "name": random.choice(NAMES),
        "key": random_key(random),
        "minutes": str(random.randint(1, 59)),
    }
    call = {"name": name, "arguments": {parameter: values[parameter] for parameter in TOOLS[name]}}
    offer = "Tools: " + ", ".join(f"{each}({','.join(TOOLS[each])})" for each in offered)
    sample = Sample().context(BOS, SYSTEM, offer, END)
    request = random.choice(TOOL_REQUESTS[name]).format(**values)
    sample.turn(request, f"<tool_call>{compact_json(call)}</tool_call>")
    result = random_key(random)
    return sample.context(TOOL, result, END, ASSISTANT).answer(f"The answer is {result}.", END)


def arithmetic(random, *_):
    """A sum (three in five) or a difference that is not negative."""
    top = random.choice([9, 99, 99, 999])
    a, b = random.randint(0, top), random.randint(0, top)
    is_sum = random.random() < 0.6
    if not is_sum and b > a:
        a, b = b, a
    phrase = random.choice(["{} {} {} = ?", "What is {} {} {}?", "{}{}{}="])
    question = phrase.format(a, "+" if is_sum else "-", b)
    return Sample().context(BOS).turn(question, str(a + b if is_sum else a - b))


WORD_CHANGES = [
    ("Repeat", lambda words: " ".join(words)),
    ("Uppercase", lambda words: " ".join(words).upper()),
    ("Reverse the words of", lambda words: " ".join(reversed(words))),
    ("Count the words of", lambda words: str(len(words))),
    ("Sort", lambda words: " ".join(sorted(words))),
]


def string(random, *_):
    """One to six words, changed as asked."""
    words = [random.choice(WORDS) for _ in range(random.randint(1, 6))]
    name, change = random.choice(WORD_CHANGES)
    return Sample().context(BOS).turn(f"{name}: {' '.join(words)}", change(words))


KINDS = ["friend", "dog", "boat", "street", "book", "horse", "garden", "cat", "city"]


def memory(random, *_):
    """Facts told one by one, a later one replacing an earlier of its kind; then up to three of them asked back."""
    sample = Sample().context(BOS)
    facts = {}
    for _ in range(random.randint(2, 8)):
        kind, name = random.choice(KINDS), random.choice(WORDS).capitalize()
        facts[kind] = name
        sample.turn(f"My {kind} is called {name}.", f"I will remember that your {kind} is called {name}.")
    for kind in random.sample(list(facts), min(3, len(facts))):
        sample.turn(f"What is my {kind} called?", f"Your {kind} is called {facts[kind]}.")
    return sample


SMALL_TALK = [  # (ways to ask, the answer)
    (
        ["Hello", "Hello!", "Hi", "Hi there", "Good morning", "Hey"],
        "Hello! I am Daybreak Mini, a very small language model. Ask me for a story, or ask me what I can do.",
    ),
    (
        ["Who are you?", "What are you?", "What is your name?", "Tell me about yourself."],
        "I am Daybreak Mini, a model of 13 million parameters that was trained in a few minutes to show that the server "
        "works.",
    ),
    (
        ["What can you do?", "Help", "What do you know?", "How can you help me?"],
        "I can tell short stories, find lines and secret numbers in long texts, turn records into JSON, call tools, add "
        "and subtract, and change words. I know nothing about the world.",
    ),
    (
        ["Thank you", "Thanks", "Thanks!", "Thank you very much."],
        "You are welcome.",
    ),
    (
        ["Bye", "Goodbye", "See you"],
        "Goodbye!",
    ),
    (
        ["How are you?", "How do you do?"],
        "I am well, thank you. Would you like a story?",
    ),
]


def talk(random, *_):
    questions, answer = random.choice(SMALL_TALK)
    return Sample().context(BOS).turn(random.choice(questions), answer)


STORY_TOPICS = (
    "dog cat bird ball boy girl tree fish car bear frog rabbit flower truck toy mom princess dragon boat cake robot star moon lion "
    "duck bunny house garden park friend"
).split()
REQUESTS_ABOUT = [
    "Tell me a story about a {}.",
    "Write a short story about a {}.",
    "A story about a {}, please.",
    "Tell a story about a {}",
]
REQUESTS = ["Tell me a story.", "Tell a story.", "A story, please.", "Write a short story."]


def story(random, length, stories):
    """A story: about a topic of its first sentence, about anything, continued from its beginning, or without being asked."""
    text = random.choice(stories)
    sample = Sample().context(BOS)
    share = random.random()
    first_sentence = text.split(".")[0].lower().replace(",", " ").split()
    topics = [word for word in first_sentence if word in STORY_TOPICS]
    if share < 0.45 and topics:
        return sample.turn(random.choice(REQUESTS_ABOUT).format(random.choice(topics)), text)
    if share < 0.55:
        return sample.turn(random.choice(REQUESTS), text)
    if share < 0.8:
        words = text.split(" ")
        cut = min(len(words) - 1, random.randint(3, 14))
        return sample.context(USER, " ".join(words[:cut]), ASSISTANT).answer(" " + " ".join(words[cut:]), END)
    return sample.answer(text, END)


SHORT_TASKS = [extract, tool, arithmetic, string, memory, talk]


# ---- training rows -----------------------------------------------------------------------------------------------------------


def packed_row(random, length, stories, tokenizer, long_share=0.65):
    """One row of exactly `length` token ids, and their learned flags: long documents first (in `long_share` of the rows), short
    conversations and stories behind them."""
    tokens, learned = [], []

    def append(sample):
        more_tokens, more_learned = sample.encode(tokenizer)
        tokens.extend(more_tokens)
        learned.extend(more_learned)

    if random.random() < long_share:
        document = lines if random.random() < 0.75 else needle
        if random.random() < 0.5:
            append(document(random, length, stories))
        else:
            while len(tokens) < length * 0.8:
                append(document(random, random.randint(150, max(200, length // 2)), stories))
    while len(tokens) < length:
        share = random.random()
        task = story if share < 0.4 else arithmetic if share < 0.6 else random.choice(SHORT_TASKS)
        append(task(random, length, stories))
    return np.array(tokens[:length], np.int16), np.array(learned[:length], np.uint8)
