"""What the six providers offer and ask for it, in 10⁻⁹ dollars: the scenario's own arithmetic, in integers.

``pricing.yaml`` beside this file says the same in the exporter's words; a test holds the two together by pricing the
whole history both ways. The prices lie near the real list prices of 2026 but belong to this story.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

CENT = 10_000_000
DOLLAR = 100 * CENT


class Amount(NamedTuple):
    """What one call uses, and what it costs when it is billed whole (None: nobody wrote down a price)."""

    cost: int | None
    seconds: int | None = None
    images: int | None = None
    megapixels: str | None = None
    characters: int | None = None
    credits: int | None = None
    units: str | None = None
    resolution: str | None = None
    audio: str | None = None


@dataclass(frozen=True, slots=True)
class Words:
    """How a provider says how a call ended, and what part in thousandths it bills of a moderated one."""

    names: tuple[str, ...]
    succeeded: tuple[str, ...]
    failed: str
    moderated: str
    pending: str
    moderated_permille: int = 0


@dataclass(frozen=True, slots=True)
class Offer:
    provider: str
    model: str
    entry: str
    """The id of its entry in the price book."""
    operation: str
    weight: float
    seconds_to_make: int
    make: Callable[[Random, bool], Amount]
    """(random stream, whether the new prices hold) → one call."""


def _kling(units_by: dict[str, tuple[int, int]]) -> Callable[[Random, bool], Amount]:
    """Kling bills units per second: (without sound, with sound) in tenths of a unit by resolution, × 5.

    A unit costs $0.14, from the change on $0.126 (a larger pack).
    """

    def make(rng: Random, new: bool) -> Amount:
        seconds = (5, 10, 15, 15)[int(rng.random() * 4)]
        resolution = "1080p" if rng.random() < 0.6 else "720p"
        silent, sound = units_by[resolution]
        audio = "native" if sound and rng.random() < 0.6 else "off"
        hundredths = sound if audio == "native" else silent
        unit = 126_000_000 if new else 140_000_000
        return Amount(seconds * hundredths * unit // 100, seconds, resolution=resolution, audio=audio)

    return make


def _video(per_second: dict[str, int], lengths: tuple[int, ...]) -> Callable[[Random, bool], Amount]:
    """So much per second by resolution."""
    choices = tuple(per_second.items())

    def make(rng: Random, new: bool) -> Amount:
        resolution, price = choices[int(rng.random() * len(choices))]
        seconds = lengths[int(rng.random() * len(lengths))]
        return Amount(seconds * price, seconds, resolution=resolution)

    return make


def _images(price: int, most: int = 4) -> Callable[[Random, bool], Amount]:
    def make(rng: Random, new: bool) -> Amount:
        images = 1 + int(rng.random() * most)
        return Amount(images * price, images=images)

    return make


def _flex(rng: Random, new: bool) -> Amount:
    """FLUX.2 flex, per megapixel: 6 cents, from the change on 5."""
    micro = (262_144, 1_048_576, 1_048_576, 2_073_600)[int(rng.random() * 4)]
    return Amount(micro * (5 if new else 6) * CENT // 1_000_000, megapixels=f"{micro // 10**6}.{micro % 10**6:06d}")


def _speech(per_thousand: int) -> Callable[[Random, bool], Amount]:
    def make(rng: Random, new: bool) -> Amount:
        characters = 80 + int(rng.random() ** 2 * 4800)
        return Amount(characters * (per_thousand // 1000), characters=characters)

    return make


def _newport(credits_per_second: int) -> Callable[[Random, bool], Amount]:
    """Newport bills credits; the owner's contract says $0.0028 each."""

    def make(rng: Random, new: bool) -> Amount:
        seconds = 4 + int(rng.random() * 56)
        return Amount(seconds * credits_per_second * 2_800_000, seconds, credits=seconds * credits_per_second)

    return make


def _unpriced(rng: Random, new: bool) -> Amount:
    return Amount(None, 5, resolution="1080p")


OFFERS: tuple[Offer, ...] = (
    Offer("kling", "kling-v3", "kling-3.0", "text2video", 0.35, 110, _kling({"720p": (60, 90), "1080p": (80, 120)})),
    Offer(
        "kling",
        "kling-v2-5-turbo",
        "kling-2.5-turbo",
        "image2video",
        0.14,
        60,
        _kling({"720p": (35, 0), "1080p": (50, 0)}),
    ),
    Offer(
        "luma",
        "ray-3.2",
        "ray-3.2",
        "video",
        0.16,
        90,
        _video({"540p": 72_000_000, "720p": 144_000_000, "1080p": 216_000_000}, (5, 10, 15)),
    ),
    Offer("luma", "uni-1", "uni-1", "image", 0.03, 12, _images(40_400_000)),
    Offer("bfl", "flux-2-flex", "flux-2-flex", "text2image", 0.05, 8, _flex),
    Offer("bfl", "flux-kontext-max", "flux-kontext-max", "image2image", 0.04, 9, _images(8 * CENT, 2)),
    Offer("elevenlabs", "eleven_v3", "tts-standard", "tts", 0.03, 3, _speech(8 * CENT)),
    Offer("elevenlabs", "eleven_flash_v2_5", "tts-flash-turbo", "tts", 0.03, 2, _speech(4 * CENT)),
    Offer(
        "piapi",
        "seedance-2.5",
        "seedance-2.5",
        "video",
        0.13,
        150,
        _video({"480p": 150_000_000, "720p": 350_000_000}, (5, 10, 15)),
    ),
    Offer("piapi", "Qubico/flux1-schnell", "flux-schnell", "txt2img", 0.03, 4, _images(1_500_000)),
    Offer("newport", "lipsync", "lipsync", "lipsync", 0.03, 70, _newport(1)),
    Offer("newport", "lipsync-2.0", "lipsync-2.0", "lipsync", 0.03, 90, _newport(2)),
)

NOVELTY = Offer("luma", "ray-4-preview", "_other", "video", 0.0, 120, _unpriced)
"""The model that the team tries out, and that nobody has put into the price book yet."""
NOVELTY_SHARE = 0.015
NOVELTY_DAYS = 25
"""So many days before now it came up."""

WORDS: dict[str, Words] = {
    "kling": Words(("kling", "kling", "Kling AI"), ("succeed",), "failed", "moderated", "processing"),
    "luma": Words(("luma", "LumaAI"), ("completed",), "failed", "content_moderated", "dreaming", 500),
    "bfl": Words(("bfl",), ("Ready",), "Error", "Content Moderated", "Pending", 1000),
    "elevenlabs": Words(("elevenlabs",), ("success",), "failed", "moderated", "pending"),
    "piapi": Words(("piapi", "PiAPI"), ("completed", "Completed"), "Failed", "content_moderated", "Processing"),
    "newport": Words(("newport",), ("3",), "4", "content_moderated", "2"),
}

MEAN_COST = 1.03 * DOLLAR
"""Of one row, failures included: sets how many rows a plan's money pays for."""
