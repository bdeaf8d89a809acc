"""A two-layer graph convolutional network that sorts the papers of Cora by subject.

2708 papers, words as features, citations as edges, 140 labels to learn from (the public split).

Run: python examples/graph_network.py. Takes about half a minute on a CPU core and ends between 81
and 82 % accuracy on the 1000 test papers (the source: 81.5 %). The data (0.6 MB) are downloaded
once, or read from the folder that NNJAX_DATA names, as ``cora/planetoid/ind.cora.x`` and so on.

Source: Kipf and Welling 2017, https://arxiv.org/abs/1609.02907, sections 5.2 and 6.1; split of
Yang, Cohen, Salakhutdinov 2016, https://arxiv.org/abs/1603.08861.
"""

import io
import pickle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import nnjax as nn
from nnjax.data.files import DataFile, fetch

STEPS, LEARNING_RATE, DECAY = 200, 1e-2, 5e-4
HIDDEN, DROPOUT, CLASSES = 16, 0.5, 7
URL = "https://github.com/kimiyoung/planetoid/raw/master/data/ind.cora."
FILES = {  # by part: size and sha256
    "tx": (148025, "b9afbaa4a400df991f6f02ef677e1e44da55ffc04801fd02f9e673987829226a"),
    "allx": (257305, "9419ba2f26f5c35243db64aba110e0f35a04851609e0dc5433450676ca6b8543"),
    "y": (4054, "94465c14eb53e04ca262198dcbb2521ee8af60fb3f3d546cd6ca24a511b0e7d1"),
    "ty": (28135, "41f5ac76596a1699cc33f53084a2419e92961c42bb75f36fc38e616d348532ad"),
    "ally": (47959, "2b998f5cc7fedc86e7f97ca2498f47a1ffc1462c29e2d578b23bf3f62b6e7d71"),
    "graph": (59847, "58f13302f39dde8852dad6fe6d15b89b077b6d7f837626bce671ef80344b383d"),
    "test.index": (5000, "297ce89af2b51a6a194181c7dbe1796c6a1cf9cd9349a88383b1b1e227867875"),
}


def read(part) -> Any:
    """One published file, its checksum verified before anything in it is believed."""
    size, sha256 = FILES[part]
    content = fetch(DataFile(f"cora/planetoid/ind.cora.{part}", size, sha256, (URL + part,)))
    if part == "test.index":
        return np.loadtxt(io.BytesIO(content), dtype=int)
    return Published(io.BytesIO(content), encoding="latin1").load()


class Published(pickle.Unpickler):
    """Of 2016, when SciPy's sparse arrays had a module of their own."""

    def find_class(self, module, name):
        return super().find_class(module.replace("scipy.sparse.csr", "scipy.sparse"), name)


def cora():
    """Words [N, D], rows that sum to one; labels [N]; senders and receivers [E]; test [1000]."""
    test = read("test.index")
    words = np.concatenate([read("allx").toarray(), read("tx").toarray()])
    labels = np.concatenate([read("ally"), read("ty")]).argmax(1)
    words[test], labels[test] = words[np.sort(test)], labels[np.sort(test)]
    words = words / np.maximum(words.sum(1, keepdims=True), 1)
    links = {(i, j) for i, near in read("graph").items() for j in near if i != j}
    edges = np.array(sorted(links | {(j, i) for i, j in links}), np.int32).T
    return words.astype(np.float32), labels, edges[0], edges[1], test


def network(words):
    def forward(net, nodes, senders, receivers):
        h = jax.nn.relu(net.gcn_0(net.drop(nodes), senders, receivers))  # [N, hidden]
        return net.gcn_1(net.drop(h), senders, receivers)  # [N, classes]

    return nn.compose(
        forward,
        drop=nn.dropout(DROPOUT),
        gcn_0=nn.gcn(words, HIDDEN),
        gcn_1=nn.gcn(HIDDEN, CLASSES),
    )


def main(seed: int = 0) -> float:
    words, labels, senders, receivers, test = cora()
    words, labels = jnp.asarray(words), jnp.asarray(labels)
    train = jnp.arange(len(read("y")))
    model = network(words.shape[1])
    params, _ = model.init(jax.random.key(seed))
    optimizer = optax.adam(LEARNING_RATE)

    def loss(params, key):
        logits = model(params, words, senders, receivers, key=key, train=True)
        decay = 0.5 * DECAY * jnp.square(params["gcn_0"]["kernel"]).sum()  # of the first layer only
        return nn.losses.softmax_cross_entropy(logits[train], labels[train]).mean() + decay

    def step(carry, key):
        params, opt_state = carry
        updates, opt_state = optimizer.update(jax.grad(loss)(params, key), opt_state)
        return (optax.apply_updates(params, updates), opt_state), None

    @jax.jit
    def fit(params, key):
        start = params, optimizer.init(params)
        (params, _), _ = jax.lax.scan(step, start, jax.random.split(key, STEPS))
        return model(params, words, senders, receivers).argmax(-1)

    found = fit(params, jax.random.key(seed + 1))
    accuracy = float((found == labels)[test].mean())
    print(f"test accuracy {accuracy:.3f}")
    return accuracy


if __name__ == "__main__":
    main()
