"""The probability that what a model says freely is a string of the language."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pathlift.automata.support import Support
from pathlift.ir.types import Array
from pathlift.models.language.data import Strings
from pathlift.models.language.logits import TokenModel, chunks
from pathlift.models.language.split import log_sum_exp


@dataclass(frozen=True)
class Validity:
    """An estimate of a probability.

    Parameters
    ----------
    value, se
        The mean over samples, and its standard error.
    samples
        How many there were.
    length
        How many tokens of a string were looked at.
    unfinished
        The part of `value` that is of samples that went on then: they count as what they were so far.
    """

    value: float
    se: float
    samples: int
    length: int
    unfinished: float = 0.0


def estimated(products: Array, length: int, unfinished: float = 0.0) -> Validity:
    """Return the mean of products, with its standard error."""
    count = len(products)
    spread = float(products.std(ddof=1)) if count > 1 else 0.0
    return Validity(float(products.mean()), spread / count**0.5, count, length, unfinished)


def free_strings(model: TokenModel, support: Support, begins: Array, start: int, seed: int, length: int) -> Validity:
    """Estimate how often a model of the next token, sampled freely, says a string of the language.

    P(valid) = E of Π_t q(S_t | s_<t), over strings of the model held to S_t at each token: of a valid string s, the
    free model's probability is Π q(s_t), the held one's is Π q(s_t)/q(S_t). Each sample is between 0 and 1, and none is
    lost, so that the estimate varies less than a count of valid samples.

    Parameters
    ----------
    model
        Of the next token.
    support
        The language. With a limit of length, what gets longer is no string.
    begins
        ``(samples, n)``, int64: what strings begin with; the tokens behind `start` are of the string.
    start
        Where strings begin.
    seed
        Of the samples.
    length
        The most tokens that are looked at.
    """
    rng, automaton = np.random.default_rng(seed), support.automaton
    samples, tokens = len(begins), begins.copy()
    states = np.array([automaton.walk(row[start:])[-1] for row in begins])
    products = np.ones(samples)
    for position in range(begins.shape[1] - start, length):
        going = np.flatnonzero((products > 0) & ~(automaton.accepting[states] & (automaton.eos is not None)))
        tokens = np.hstack([tokens, np.full((samples, 1), automaton.eos or 0, np.int64)])
        if not len(going):
            break
        for part in chunks(len(going), automaton.tokens):
            rows = going[part]
            logits = model.run(tokens[rows, :-1], np.full(len(rows), tokens.shape[1] - 1))[:, -1].astype(np.float64)
            chosen, mass = held(logits, support.next(states[rows], position), rng)
            products[rows] *= mass
            tokens[rows, -1] = chosen
            states[rows] = automaton.table[states[rows], chosen]
    return estimated(products, length, float((products * ~automaton.accepting[states]).mean()))


def free_fills(model: TokenModel, support: Support, strings: Strings, hidden: Array, mask: int, seed: int) -> Validity:
    """Estimate how often a model of hidden tokens, asked for one after another from the left, says a string.

    As `free_strings`, given the tokens that are not hidden.

    Parameters
    ----------
    model
        Of hidden tokens.
    support
        The language.
    strings
        Whose hidden tokens are filled.
    hidden
        ``(strings, width)``, bool.
    mask
        The token that hides others.
    seed
        Of the samples.
    """
    rng = np.random.default_rng(seed)
    tokens, left = np.where(hidden, mask, strings.tokens), hidden.copy()
    products = np.ones(len(strings))
    while (going := np.flatnonzero(left.any(1) & (products > 0))).size:
        columns = left[going].argmax(1)
        for part in chunks(len(going), support.automaton.tokens):
            rows, at = going[part], columns[part]
            more = {name: array[rows] for name, array in strings.more.items()}
            logits = model.run(tokens[rows], strings.ends[rows], more)[np.arange(len(rows)), at].astype(np.float64)
            allowed = np.array([support.masked(*_shown(tokens, left, strings, row))[0] for row in rows])
            chosen, mass = held(logits, allowed, rng)
            products[rows] *= mass
            tokens[rows, at] = chosen
            left[rows, at] = False
    return estimated(products, int((strings.ends - strings.start).max()))


def _shown(tokens: Array, left: Array, strings: Strings, row: int) -> tuple[Array, Array]:
    """A string as it is filled so far, and what of it is still hidden."""
    part = slice(strings.start, int(strings.ends[row]))
    return np.where(left[row, part], 0, tokens[row, part]), left[row, part]


def held(logits: Array, allowed: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Draw tokens held to those that are allowed; return them, and the mass that those have, 0 where they have none.

    Parameters
    ----------
    logits
        ``(places, tokens)``, float64.
    allowed
        ``(places, tokens)``, bool.
    rng
        Draws.
    """
    inner = log_sum_exp(np.where(allowed, logits, -np.inf))
    mass = np.exp(inner - log_sum_exp(logits))
    # Gumbel's: the largest of logits with such noise is drawn as softmax has it.
    noisy = np.where(allowed, logits + rng.gumbel(size=logits.shape), -np.inf)
    return noisy.argmax(1), np.minimum(mass, 1.0)
