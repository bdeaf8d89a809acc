"""Random calls of losses of boxes, of tuples and batches of embeddings, of unaligned sequences."""

import functools
from typing import Any

import numpy as np
from hypothesis import strategies as st

import nnjax as nn
from nnjax import losses
from tests.properties.family import (
    Case,
    Family,
    Mistake,
    batches,
    called,
    flags,
    integers,
    numbers,
    sizes,
)
from tests.properties.functions import reduced

BOXES = ("iou_loss", "giou_loss", "diou_loss", "ciou_loss")
TUPLES = ("contrastive_loss", "triplet_margin_loss")  # a value a pair, or a triplet
PAIRS = ("info_nce", "clip_loss")  # of the rows of two batches
MINED = ("batch_hard_triplet_loss", "batch_all_triplet_loss", "semi_hard_triplet_loss")
LABELLED = ("supervised_contrastive_loss", *MINED)  # pairs or triplets within one batch


@st.composite
def boxes(draw) -> Case:
    kind, batch, ordered = draw(st.sampled_from(BOXES)), draw(batches), draw(flags)
    corners = [numbers(*batch, 2, 2, seed=seed) for seed in (1, 2)]
    if ordered:  # or some boxes are empty
        corners = [np.sort(c, axis=-2) for c in corners]
    return draw(reduced(kind, [c.reshape(*batch, 4) for c in corners], batch, {}))


@st.composite
def embeddings(draw, kinds: tuple[str, ...] = TUPLES + PAIRS + LABELLED) -> Case:
    kind = draw(st.sampled_from(kinds))
    batch = draw(batches) if kind in TUPLES else (draw(st.integers(0, 6)),)
    shape, settings = (*batch, draw(sizes)), {}
    inputs = [numbers(*shape, seed=seed) for seed in (1, 2, 3)]
    if kind in PAIRS:
        del inputs[2]
    elif kind in LABELLED:
        inputs[1:] = [integers(0, 3, *batch, seed=2)]
    elif kind == "contrastive_loss":
        inputs[2] = integers(0, 2, *batch, seed=2)
    if kind in (*PAIRS, "supervised_contrastive_loss"):
        settings["temperature"] = draw(st.sampled_from([0.1, 0.5, 2.0]))
    else:
        settings["margin"] = draw(st.sampled_from([0.3, 1.0, 4.0]))
    if kind == "triplet_margin_loss":
        settings["swap"] = draw(flags)
    return draw(reduced(kind, inputs, batch, settings))


@st.composite
def ctc(draw) -> Case:
    """Labels that some path can say: with a frame for each, and one more for its blank."""
    batch, labels, classes = draw(st.integers(0, 3)), draw(st.integers(0, 3)), draw(sizes) + 1
    frames, blank = 2 * labels + draw(sizes), draw(st.integers(0, classes - 1))
    said = (integers(1, classes, batch, labels, seed=1) + blank) % classes
    inputs = [numbers(batch, frames, classes), said.astype(np.int32)]
    if draw(flags):
        lengths = integers(0, labels + 1, batch, seed=2)
        heard = 2 * lengths + integers(0, frames - 2 * labels + 1, batch, seed=3)
        inputs += [heard.astype(np.int32), lengths]
    return draw(reduced("ctc_loss", inputs, (batch,), {"blank": blank}))


def loss_mistakes(kind: str):
    function = getattr(losses, kind)

    def refuse(message: str, *inputs: Any, **named: Any) -> Mistake:
        layer = nn.as_layer(functools.partial(function, **named))
        return Mistake(called(layer, *inputs), f"{kind}: {message}", f"{kind} {named}")

    return refuse


@st.composite
def of_boxes(draw):
    extra = draw(st.integers(1, 3))
    return [mistake for kind in BOXES for mistake in mistakes_of_boxes(kind, extra)]


def mistakes_of_boxes(kind: str, extra: int):
    refuse, x = loss_mistakes(kind), numbers(2, 3, 4)
    return [
        refuse("got targets of shape", x, x[:, :1]),
        refuse("got targets of shape", x, numbers(2, 3 + extra, 4)),
        refuse("got predictions of shape", numbers(3, 4 + extra), numbers(3, 4 + extra)),
        refuse("got predictions of shape", x[0, 0, 0], x[0, 0, 0]),
        refuse("got predictions of dtype", x.astype(int), x),
        refuse("got mask of shape", x, x, mask=np.ones((2, 3, 4), bool)),
        refuse("got mask of dtype", x, x, mask=np.ones((2, 3))),
        refuse("got weights of shape", x, x, weights=numbers(3 + extra)),
        refuse("got reduction=", x, x, reduction="median"),
    ]


@st.composite
def of_embeddings(draw):
    extra, kinds = draw(st.integers(1, 3)), TUPLES + PAIRS + LABELLED
    return [mistake for kind in kinds for mistake in mistakes_of_embeddings(kind, extra)]


def mistakes_of_embeddings(kind: str, extra: int):
    refuse, x, other = loss_mistakes(kind), numbers(4, 3), numbers(4 + extra, 3)
    labels = np.arange(4, dtype=np.int32) % 2
    rest = {"contrastive_loss": (x, labels), "triplet_margin_loss": (x, x)}
    rest |= dict.fromkeys(PAIRS, (x,)) | dict.fromkeys(LABELLED, (labels,))
    rest = rest[kind]
    mistakes = [
        refuse("got .* of shape", other, *rest),
        refuse("got .* of shape", x, *(a[:1] for a in rest)),  # it would broadcast
        refuse("got .* of shape", x[0, 0], *rest),
        refuse("got .* of dtype", x.astype(int), *rest),
        refuse("got mask of shape", x, *rest, mask=np.ones(4 + extra, bool)),
        refuse("got mask of shape", x, *rest, mask=np.ones((4, 3), bool)),
        refuse("got mask of dtype", x, *rest, mask=np.ones(4, int)),
        refuse("got weights of shape", x, *rest, weights=numbers(4, 4)),
        refuse("got reduction=", x, *rest, reduction="median"),
    ]
    if kind not in TUPLES:
        deep = numbers(2, 4, 3)
        more = (labels,) if kind in LABELLED else (deep,)
        mistakes.append(refuse(r"got .* of shape \(2, 4, 3\)", deep, *more))
    return mistakes


@st.composite
def of_ctc(draw):
    refuse, extra = loss_mistakes("ctc_loss"), draw(st.integers(1, 3))
    x, labels, lengths = numbers(3, 6, 4), integers(1, 4, 3, 2), np.full(3, 2, np.int32)
    return [
        refuse("got logits of shape", x[0], labels),
        refuse("got logits of shape", numbers(3, 0, 4), labels),
        refuse("got logits of dtype", x.astype(int), labels),
        refuse("got labels of shape", x, labels[:1]),
        refuse("got labels of shape", x, labels[:, 0]),
        refuse("got labels of dtype", x, numbers(3, 2)),
        refuse("got logit_lengths of shape", x, labels, lengths[:1]),
        refuse("got logit_lengths of dtype", x, labels, lengths * 1.0),
        refuse("got label_lengths of shape", x, labels, None, np.ones(3 + extra, int)),
        refuse("got label_lengths of dtype", x, labels, None, lengths * 1.0),
        refuse("got blank=", x, labels, blank=3 + extra),
        refuse("got blank=", x, labels, blank=-extra),
        refuse("got mask of shape", x, labels, mask=np.ones((3, 6), bool)),
        refuse("got weights of shape", x, labels, weights=numbers(3 + extra)),
        refuse("got reduction=", x, labels, reduction="median"),
    ]


FAMILIES = {
    "boxes": Family(boxes(), of_boxes()),
    "embeddings": Family(embeddings(), of_embeddings()),
    "ctc": Family(ctc(), of_ctc()),
}
